//! Prints the sample configuration: `cargo run -p settings --example sample > tools/moorline.toml`.

fn main() {
    print!("{}", settings::sample_toml());
}
