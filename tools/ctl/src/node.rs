//! The node: its state, its plan and its configuration.

use serde_json::{Map, Value, json};

use crate::api::{Api, Reply};
use crate::args::{Common, ConfigAction};
use crate::failure::Failure;
use crate::output::{Output, table};

/// What `status` shows of the metrics, and under which words.
const SHOWN: [(&str, &str); 20] = [
    ("moorline_devices", "devices known"),
    ("moorline_devices_online", "devices online"),
    ("moorline_messages_accepted_total", "messages accepted"),
    ("moorline_messages_refused_total", "messages refused"),
    ("moorline_targets_acked_total", "targets acknowledged"),
    ("moorline_targets_expired_total", "targets expired"),
    ("moorline_targets_dropped_total", "targets dropped"),
    ("moorline_targets_collapsed_total", "targets collapsed"),
    ("moorline_targets_recalled_total", "targets recalled"),
    ("moorline_store_bytes", "store bytes"),
    ("moorline_store_budget_bytes", "store budget"),
    ("moorline_connections", "connections, ours"),
    ("moorline_kernel_sockets", "sockets, the kernel's"),
    ("moorline_user_bytes_per_connection", "our bytes each"),
    ("moorline_kernel_bytes_per_connection", "kernel bytes each"),
    ("moorline_kernel_buffer_bytes", "kernel buffer bytes"),
    ("moorline_memory_available_bytes", "memory available"),
    ("moorline_admission_open", "logins admitted"),
    ("moorline_fanout_walkers", "workers broadcasting"),
    ("moorline_fanout_paused", "broadcasts paused"),
];

pub(crate) fn status(common: &Common, output: &mut Output<'_>) -> Result<(), Failure> {
    let api = Api::new(common)?;
    let Reply { body, .. } = api.get_open("/readyz")?;
    let ready: Value = serde_json::from_slice(&body).map_err(|_| not_a_node(&api))?;
    let metrics = metrics(&String::from_utf8_lossy(&api.get_open("/metrics")?.body));
    let is_ready = ready["ready"] == true;
    let why = ready["why"].as_str().unwrap_or_default().to_owned();

    let mut json = ready.clone();
    let members = json.as_object_mut().ok_or_else(|| not_a_node(&api))?;
    members.insert("api".to_owned(), api.base().into());
    members.insert("metrics".to_owned(), metrics.clone().into());
    output.show(&json, || {
        let state = if is_ready { "ready".to_owned() } else { format!("not ready: {why}") };
        let mut rows = vec![
            ["node".to_owned(), state],
            ["api".to_owned(), api.base().to_owned()],
            ["workers".to_owned(), format!("{} of {}", ready["workers"], ready["workers_expected"])],
        ];
        let known = SHOWN.iter().filter_map(|(name, words)| Some((words, metrics.get(*name)?)));
        rows.extend(known.map(|(words, value)| [(*words).to_owned(), value.to_string()]));
        rows.iter().map(|[name, value]| format!("{name:<22}{value}\n")).collect()
    })?;
    if is_ready {
        Ok(())
    } else {
        Err(Failure::failed(format!("the node is not ready: {why}"), "see `tools/moorline logs`"))
    }
}

fn not_a_node(api: &Api) -> Failure {
    let what = format!("{} does not answer as a node", api.base());
    Failure::failed(what, "check that --api names a Moorline node")
}

/// The samples without labels.
fn metrics(text: &str) -> Map<String, Value> {
    let samples = text.lines().filter(|line| !line.starts_with('#') && !line.contains('{'));
    let pairs = samples.filter_map(|line| line.split_once(' '));
    pairs.filter_map(|(name, value)| Some((name.to_owned(), value.parse::<u64>().ok()?.into()))).collect()
}

pub(crate) fn plan(common: &Common, shell: bool, output: &mut Output<'_>) -> Result<(), Failure> {
    let settings = common.settings()?;
    let cores = settings::cores();
    let plan = settings::plan(&settings, settings::nofile_raise(), cores);
    if shell {
        return Ok(output.text(&plan.shell_lines(&settings))?);
    }
    let json = json!({
        "workers": plan.workers, "cores": plan.cores, "nofile": plan.nofile,
        "connections_max_per_worker": plan.connections_max_per_worker,
        "connections_max": plan.connections_max(), "ring_bytes": plan.ring_bytes, "pin": plan.pin,
        "steering": plan.steering.as_str(), "warnings": plan.warnings,
    });
    output.show(&json, || {
        let mut text = String::new();
        let rows = [
            ("workers", format!("{} on {} cores", plan.workers, plan.cores)),
            ("connections", format!("{} a worker", plan.connections_max_per_worker)),
            ("", format!("{} in all, {} wanted", plan.connections_max(), settings.worker.target_connections)),
            ("open files", format!("{} a process", plan.nofile)),
            ("rings", format!("{} KiB each way", plan.ring_bytes / 1024)),
            ("steering", format!("by {}", plan.steering.as_str())),
            ("pinned", if plan.pin { "yes" } else { "no" }.to_owned()),
        ];
        for (name, value) in rows {
            text.push_str(&format!("{name:<13}{value}\n"));
        }
        for warning in &plan.warnings {
            text.push_str(&format!("warning      {warning}\n"));
        }
        text
    })?;
    Ok(())
}

pub(crate) fn config(common: &Common, action: ConfigAction, output: &mut Output<'_>) -> Result<(), Failure> {
    match action {
        ConfigAction::Check => {
            common.settings()?;
            let path = common.config.display().to_string();
            output.show(&json!({"config": path, "good": true}), || format!("{path} is good"))?;
        }
        ConfigAction::Describe => {
            let keys = settings::describe();
            let json = keys.iter().map(|key| {
                json!({
                    "section": key.section, "key": key.key, "default": key.default, "range": key.range,
                    "meaning": key.meaning, "variable": key.variable(),
                })
            });
            output.show(&json.collect(), || {
                let row = |key: &settings::KeyDoc| {
                    let name = format!("{}.{}", key.section, key.key);
                    [name, key.default.clone(), key.range.clone(), key.meaning.clone()]
                };
                table(["KEY", "DEFAULT", "RANGE", "MEANING"], &keys.iter().map(row).collect::<Vec<_>>())
            })?;
        }
    }
    Ok(())
}
