# A card of files. Sourced by run.
# shellcheck shell=bash

# card CORES QUEUES: a machine in $TEMP/root with that many cores, and ens1 with that many queues of either kind.
card() {
    local root=$TEMP/root i
    rm -rf "$root" "$TEMP/nic.undo"
    mkdir -p "$root/sys/class/net/lo" "$root/sys/devices/system/cpu" "$root/proc/sys/net/core" "$root/proc/77"
    echo "0-$(($1 - 1))" >"$root/sys/devices/system/cpu/online"
    echo 0 >"$root/proc/sys/net/core/rps_sock_flow_entries"
    echo bash >"$root/proc/77/comm"
    printf '           CPU0\n  1:  0  IO-APIC  i8042\n 90:  0  PCI-MSI  ens1\n' >"$root/proc/interrupts"
    mkdir -p "$root/sys/class/net/ens1/device/msi_irqs" "$root/proc/irq/90"
    echo up >"$root/sys/class/net/ens1/operstate"
    echo "0-$(($1 - 1))" >"$root/proc/irq/90/smp_affinity_list"
    touch "$root/sys/class/net/ens1/device/msi_irqs/90"
    for ((i = 0; i < $2; i++)); do
        mkdir -p "$root/sys/class/net/ens1/queues/"{rx,tx}-"$i" "$root/proc/irq/$((100 + i))"
        echo 00000000,00000000 >"$root/sys/class/net/ens1/queues/rx-$i/rps_cpus"
        echo 0 >"$root/sys/class/net/ens1/queues/rx-$i/rps_flow_cnt"
        echo 00000000,00000000 >"$root/sys/class/net/ens1/queues/tx-$i/xps_cpus"
        echo "0-$(($1 - 1))" >"$root/proc/irq/$((100 + i))/smp_affinity_list"
        touch "$root/sys/class/net/ens1/device/msi_irqs/$((100 + i))"
        echo "$((100 + i)):  0  PCI-MSI  ens1-TxRx-$i" >>"$root/proc/interrupts"
    done
    printf '%s\n' 512 512 off >"$TEMP/card"
    cat >"$TEMP/ethtool" <<'INNER'
#!/usr/bin/env bash
# ens1's rings and coalescing, kept in the file `card`: rx, tx, adaptive-rx.
mapfile -t has <"${0%/*}/card"
case $1 in
    -g) printf 'Ring parameters for %s:\nPre-set maximums:\nRX:\t\t8192\nRX Mini:\tn/a\nTX:\t\t2048\nCurrent hardware settings:\nRX:\t\t%s\nRX Mini:\tn/a\nTX:\t\t%s\n' "$2" "${has[0]}" "${has[1]}" ;;
    -c) printf 'Coalesce parameters for %s:\nAdaptive RX: %s  TX: n/a\nrx-usecs:\t3\n' "$2" "${has[2]}" ;;
    -G) [[ $3 == rx ]] && has[0]=$4 || has[1]=$4 ;;&
    -C) has[2]=$4 ;;&
    -G | -C) printf '%s\n' "${has[@]}" >"${0%/*}/card" ;;
esac
INNER
    chmod +x "$TEMP/ethtool"
}

nic() { MOORLINE_SYS_ROOT=$TEMP/root MOORLINE_ETHTOOL=$TEMP/ethtool status "$SYSCTL/nic" "$@"; }
at() { cat "$TEMP/root/$1"; }
# everything: all the card's files and its rings.
everything() { (cd "$TEMP" && find root -type f | sort | xargs grep -H '' && cat card); }

test_a_queue_for_every_core() {
    card 4 4
    nic --yes
    is "status" "$STATUS" 0
    is "interrupt of queue 3" "$(at proc/irq/103/smp_affinity_list)" 3
    is "the card's own interrupt" "$(at proc/irq/90/smp_affinity_list)" 0-3
    is "XPS of queue 2" "$(at sys/class/net/ens1/queues/tx-2/xps_cpus)" 4
    lacks "changes" "$OUTPUT" "rps_cpus"
    is "rings and coalescing" "$(tr '\n' ' ' <"$TEMP/card")" "4096 2048 on "
    nic --yes
    has "a second run" "$OUTPUT" "nothing to change"
}

test_fewer_queues_than_cores() {
    card 40 2
    nic --yes
    is "status" "$STATUS" 0
    is "RPS, 40 cores" "$(at sys/class/net/ens1/queues/rx-1/rps_cpus)" ff,ffffffff
    is "XPS, the odd ones" "$(at sys/class/net/ens1/queues/tx-1/xps_cpus)" aa,aaaaaaaa
    is "RFS flows a queue" "$(at sys/class/net/ens1/queues/rx-0/rps_flow_cnt)" 524288
    is "RFS flows" "$(at proc/sys/net/core/rps_sock_flow_entries)" 1048576
}

test_chosen_cores() {
    card 8 4
    nic --yes --cores 2-3,6
    is "queue 2" "$(at proc/irq/102/smp_affinity_list)" 6
    is "queue 3" "$(at proc/irq/103/smp_affinity_list)" 2
    lacks "more queues than cores" "$OUTPUT" "rps_cpus"
    nic --yes --cores 2-3,6 --rfs
    is "asked for" "$(at sys/class/net/ens1/queues/rx-0/rps_cpus)" 4c
    nic --cores 1,x
    has "a bad list" "$OUTPUT" '"x" is no core or range'
}

test_nothing_changes_unasked_and_undo_puts_all_back() {
    local before
    card 40 2
    before=$(everything)
    nic
    is "not answered: status" "$STATUS" 1
    has "the difference" "$OUTPUT" "rps_cpus"
    is "not answered" "$(everything)" "$before"
    nic --yes
    nic --yes --cores 0-1
    nic --undo
    is "undo: status" "$STATUS" 0
    # The kernel writes masks of all its cores; the file keeps them as they were written.
    is "undone" "$(everything | sed 's/:0$/:00000000,00000000/')" "$(sed 's/:0$/:00000000,00000000/' <<<"$before")"
}

test_no_card() {
    card 4 4
    rm -r "$TEMP/root/sys/class/net/ens1"
    nic --yes
    is "status" "$STATUS" 0
    has "what" "$OUTPUT" "no network card here"
    nic --yes lo
    has "loopback" "$OUTPUT" "lo is no network card"
}

test_irqbalance_is_named() {
    card 4 4
    nic
    lacks "without" "$OUTPUT" "irqbalance runs"
    echo irqbalance >"$TEMP/root/proc/77/comm"
    nic
    has "with" "$OUTPUT" "irqbalance runs"
}
