# Profiles, and apply inside namespaces. Sourced by run.
# shellcheck shell=bash

# pairs PROFILE: its KEY = VALUE lines, one space apart.
pairs() { sed -n 's/^\([a-z][a-z0-9_.-]*\) = /\1 /p' "$SYSCTL/$1.conf"; }

test_every_key_has_its_reason() {
    local profile line reason
    for profile in "$SYSCTL"/*.conf; do
        reason=no
        while read -r line; do
            case $line in
                '') reason=no ;;
                '#: at least') ;;
                '# '*) reason=yes ;;
                [a-z]*' = '[0-9a-z]*) [[ $reason == yes ]] && PASSED=$((PASSED + 1)) || fail "${profile##*/}: no reason before $line" ;;
                '#') ;;
                *) fail "${profile##*/}: $line is neither key nor comment" ;;
            esac
        done <"$profile"
    done
}

test_no_profile_gives_a_key_twice() {
    local profile
    for profile in laptop 100k 1m 4m; do
        is "$profile's repeated keys" "$(pairs $profile | cut -d' ' -f1 | sort | uniq -d)" ""
    done
}

test_a_larger_profile_is_no_tighter_on_the_machine() {
    local key small large
    for key in fs.file-max fs.nr_open fs.epoll.max_user_watches net.core.netdev_max_backlog net.ipv4.tcp_mem \
        net.ipv4.tcp_max_orphans vm.min_free_kbytes net.ipv4.tcp_child_ehash_entries net.core.somaxconn; do
        small=$(pairs 1m | sed -n "s/^$key \([0-9]*\).*/\1/p") large=$(pairs 4m | sed -n "s/^$key \([0-9]*\).*/\1/p")
        ((small > 0 && large > small)) && PASSED=$((PASSED + 1)) || fail "$key: 1m has $small, 4m $large"
    done
}

# What apply takes for the machine's is what a new namespace cannot write.
test_scopes_are_what_a_namespace_lacks() {
    local key out writable
    out=$("${NEW[@]}" "$SYSCTL/apply" 4m --yes)
    while read -r key _; do
        [[ $key == net.* && $key != *child_ehash* && -e /proc/sys/${key//.//} ]] || continue
        # shellcheck disable=SC2016 # for the shell inside
        writable=$("${NEW[@]}" bash -c '[[ -e $0 ]] && (printf "%s\n" "$(<"$0")" >"$0") 2>/dev/null && echo yes || echo no' "/proc/sys/${key//.//}")
        if [[ $writable == yes ]]; then lacks "$key, of the namespace: the list" "$out" "  $key"; else has "the list" "$out" "  $key"; fi
    done < <(pairs 4m)
}

# all_of KEY...: their values, in the namespace this runs in.
NAMESPACE_KEYS=$(pairs 4m | cut -d' ' -f1 | grep '^net' | sed 's,\.,/,g')
export NAMESPACE_KEYS SYSCTL
snapshot() {
    local key
    for key in $NAMESPACE_KEYS; do [[ ! -r /proc/sys/$key ]] || echo "$key $(tr '\t' ' ' <"/proc/sys/$key")"; done
}
export -f snapshot

test_a_profile_applies_inside_and_is_undone() {
    local got machine
    machine=$(cat /proc/sys/fs/nr_open /proc/sys/vm/swappiness)
    # shellcheck disable=SC2016 # for the shell inside
    got=$("${NEW[@]}" bash -c '
        snapshot >"$0/before"
        "$SYSCTL/apply" 4m --yes >"$0/first" || echo "apply failed"
        snapshot >"$0/applied"
        "$SYSCTL/apply" 1m --yes >"$0/second" || echo "the second apply failed"
        "$SYSCTL/apply" --undo >/dev/null || echo "undo failed"
        snapshot >"$0/after"
        ls "$0" | grep -c "^sysctl.undo" || :
        "$SYSCTL/apply" --undo 2>&1' "$TEMP" || :)
    is "inside" "${got%%$'\n'*}" 0
    has "a second undo" "$got" "nothing to undo"
    has "applied" "$(<"$TEMP/applied")" "net/ipv4/tcp_rto_min_us 3000000"
    has "applied" "$(<"$TEMP/applied")" "net/ipv4/tcp_wmem 4096 16384 32768"
    has "the first apply" "$(<"$TEMP/first")" "the machine's, left to sysctl/apply 4m --global"
    is "after undo" "$(<"$TEMP/after")" "$(<"$TEMP/before")"
    is "the machine's" "$(cat /proc/sys/fs/nr_open /proc/sys/vm/swappiness)" "$machine"
}

# Two namespaces at a time: each undoes its own.
test_undo_files_do_not_mix() {
    local got
    # shellcheck disable=SC2016 # for the shells inside
    got=$("${NEW[@]}" bash -c '
        echo 61 >/proc/sys/net/ipv4/tcp_fin_timeout
        "$SYSCTL/apply" 4m --yes >/dev/null
        unshare -n bash -c "\"$SYSCTL/apply\" 1m --yes >/dev/null; \"$SYSCTL/apply\" --undo >/dev/null; cat /proc/sys/net/ipv4/tcp_fin_timeout"
        cat /proc/sys/net/ipv4/tcp_fin_timeout
        "$SYSCTL/apply" --undo >/dev/null
        cat /proc/sys/net/ipv4/tcp_fin_timeout')
    is "inner, outer applied, outer undone" "${got//$'\n'/ }" "60 20 61"
}

# The kernel gives inode numbers again: what an ended namespace left behind must not come back.
test_a_stale_undo_file_is_begun_anew() {
    local got
    # shellcheck disable=SC2016 # for the shell inside
    got=$("${NEW[@]}" bash -c '
        inode=$(readlink /proc/self/ns/net)
        {
            echo "# boot $(cat /proc/sys/kernel/random/boot_id)"
            printf "net.ipv4.%s = 50\n#set net.ipv4.%s = 20\n" tcp_fin_timeout{,} tcp_keepalive_time{,} tcp_retries2{,}
        } >"$MOORLINE_SYSCTL_UNDO.${inode//[^0-9]/}"
        echo 61 >/proc/sys/net/ipv4/tcp_fin_timeout
        "$SYSCTL/apply" --undo 2>&1
        "$SYSCTL/apply" 4m --yes >/dev/null
        "$SYSCTL/apply" --undo >/dev/null
        cat /proc/sys/net/ipv4/tcp_fin_timeout' || :)
    has "undo of an earlier namespace" "$got" "nothing to undo"
    is "this one's" "${got##*$'\n'}" 61
}

test_global_belongs_outside() {
    status "${NEW[@]}" "$SYSCTL/apply" 4m --global --yes
    is "status" "$STATUS" 1
    has "reason" "$OUTPUT" "--global belongs outside"
    # Not answered, so nothing is changed; only the question is looked at.
    status "$SYSCTL/apply" 4m --global
    lacks "outside, the question" "$OUTPUT" "tcp_rto_min_us"
}

test_bad_input_is_refused() {
    local bad=$TEMP/bad.conf
    echo 'net.ipv4.tcp_fin_timeout: 20' >"$bad"
    status "${NEW[@]}" "$SYSCTL/apply" "$bad" --yes
    is "status" "$STATUS" 1
    has "reason" "$OUTPUT" 'is no KEY = VALUE'
    status "$SYSCTL/apply" none-such --yes
    has "reason" "$OUTPUT" 'no profile none-such'
}
