# What check says. Sourced by run.
# shellcheck shell=bash

# megabytes PATTERN: of the line of that kind in OUTPUT.
megabytes() { sed -n "s/^ *\([0-9]*\) MB  $1.*/\1/p" <<<"$OUTPUT"; }

test_memory_by_kind_is_arithmetic() {
    status "$SYSCTL/check" 4000000 --tun
    local clients sum needed
    clients=$(megabytes 'clients in user space')
    is "4,000,000 clients of 64 B" "$clients" 256
    is "epoll" "$(megabytes epoll)" 800
    sum=$(($(sed -n 's/^ *\([0-9]*\) MB  .*/\1/p' <<<"$OUTPUT" | paste -sd+)))
    needed=$(sed -n 's/.*MB available, needs \([0-9]*\).*/\1/p' <<<"$OUTPUT")
    # Each kind is rounded down.
    ((needed - sum >= 0 && needed - sum <= 6)) && PASSED=$((PASSED + 1)) || fail "kinds sum to $sum, needed $needed"
}

test_clients_here_count_twice() {
    status "$SYSCTL/check" 1000000
    local alone=$OUTPUT
    status "$SYSCTL/check" 1000000 --local
    has "a node alone" "$alone" "1000000 x 4550 B"
    has "both ends here" "$OUTPUT" "2000000 x 4550 B"
    lacks "a node alone" "$alone" "clients in user space"
}

test_more_than_any_machine_falls_short() {
    status "$SYSCTL/check" 900000000
    is "status" "$STATUS" 1
    has "what" "$OUTPUT" "SHORT  memory"
    has "fix" "$OUTPUT" "sysctl/apply 4m"
}

# Inside, what the machine has is neither short nor fine.
test_a_namespace_does_not_see_the_machine() {
    status "${NEW[@]}" "$SYSCTL/check" 4000000 --tun
    has "tcp_mem" "$OUTPUT" "net.ipv4.tcp_mem               the machine's"
}

# The hash can be had only by a new namespace: short before, met inside one that was made after.
test_the_hash_is_had_by_a_new_namespace() {
    local got
    # shellcheck disable=SC2016 # for the shell inside
    got=$("${NEW[@]}" bash -c '
        echo 65536 >/proc/sys/net/ipv4/tcp_child_ehash_entries
        unshare -n "$SYSCTL/check" 8000000 | grep ehash_entries
        echo 8388608 >/proc/sys/net/ipv4/tcp_child_ehash_entries
        unshare -n "$SYSCTL/check" 8000000 | grep ehash_entries' || :)
    has "with 65,536" "$got" "SHORT  net.ipv4.tcp_ehash_entries"
    has "with 8,388,608" "$got" "ok     net.ipv4.tcp_ehash_entries     8388608 buckets"
}

test_bad_arguments_are_refused() {
    local arguments
    for arguments in "" "0" "-1" "4m" "10 --remote" "10 --tun --local"; do
        # shellcheck disable=SC2086 # words on purpose
        status "$SYSCTL/check" $arguments
        is "status of check $arguments" "$STATUS" 2
    done
}
