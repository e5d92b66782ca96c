# shellcheck shell=bash
# The processes of a node: known, started, watched, restarted, stopped. Sourced by tools/moorline, which owns the
# settings (what `moorctl plan` says) and the bounds that are used here.
#
#   start ──▶ running ──dies──▶ bury ──▶ due after a back-off ──▶ start
#                                 └─▶ too many deaths in the window: give_up, the node goes down
#
# A process is known by its pid *and* its moment of birth, so a reused pid is never signalled.

# ---- processes: known by pid and birth --------------------------------------------------------------------

read -r BOOT </proc/sys/kernel/random/boot_id

# birth PID: sets BIRTH to the clock tick the process started at; fails when it is gone or a zombie.
birth() {
    local stat fields
    { read -r stat <"/proc/$1/stat"; } 2>/dev/null || return 1
    read -ra fields <<<"${stat##*) }"
    [[ ${fields[0]} != Z ]] && BIRTH=${fields[19]}
}

# record NAME PID RESTARTS
record() {
    birth "$2" || return 0
    echo "$2 $BIRTH $BOOT $3" >"$RUN_DIR/pid/$1.new"
    mv "$RUN_DIR/pid/$1.new" "$RUN_DIR/pid/$1"
}

# find_process NAME: sets FOUND and RESTARTED if the recorded process still is the one that runs.
find_process() {
    local born boot
    { read -r FOUND born boot RESTARTED <"$RUN_DIR/pid/$1"; } 2>/dev/null || return 1
    [[ $boot == "$BOOT" ]] && birth "$FOUND" && [[ $BIRTH == "$born" ]]
}

# recorded [PATTERN]: the names with a pid file, workers in order.
recorded() {
    [[ -d $RUN_DIR/pid ]] || return 0
    find "$RUN_DIR/pid" -maxdepth 1 -name "${1:-*}" -type f ! -name '*.new' -printf '%f\n' | sort -V
}

signal() { # NAME SIGNAL
    if find_process "$1"; then kill "-$2" "$FOUND" 2>/dev/null || :; fi
}

uptime_ms() {
    local up
    read -r up _ </proc/uptime
    NOW_MS=$((10#${up/./} * 10))
}

# await_gone SECONDS NAME...: fails after that time with LEFT set to those that stay.
await_gone() {
    local name still deadline
    uptime_ms
    deadline=$((NOW_MS + $1 * 1000))
    shift
    LEFT=("$@")
    while :; do
        still=()
        for name in "${LEFT[@]}"; do
            if find_process "$name"; then still+=("$name"); fi
        done
        LEFT=("${still[@]}")
        ((${#LEFT[@]})) || return 0
        uptime_ms
        ((NOW_MS < deadline)) || return 1
        sleep 0.05
    done
}

# stop NAME...: asks all to drain, kills what is left after drain_s.
stop() {
    local name
    for name in "$@"; do signal "$name" TERM; done
    if ! await_gone "$DRAIN_S" "$@"; then
        say "not drained within $DRAIN_S s, killing: ${LEFT[*]}"
        for name in "${LEFT[@]}"; do signal "$name" KILL; done
        await_gone "$KILL_S" "${LEFT[@]}" || say "still there after SIGKILL: ${LEFT[*]}"
    fi
    for name in "$@"; do rm -f "$RUN_DIR/pid/$name"; done
}

# Workers first: their phones are told to go elsewhere while the dispatcher can still take their last acks.
stop_node() {
    local workers others
    mapfile -t workers < <(recorded 'worker-*')
    mapfile -t others < <(recorded dispatcher)
    stop "${workers[@]}"
    stop "${others[@]}"
}

# ---- the supervisor ---------------------------------------------------------------------------------------

declare -A PID=() RESTARTS=() DEATHS_MS=() DUE_MS=() LOG_FROM=()
CPUS=() LOCK=''

# The CPUs this process may use, one by one: "0-2,5" is 0 1 2 5.
find_cpus() {
    local list part
    list=$(sed -n 's/^Cpus_allowed_list:[[:space:]]*//p' /proc/self/status)
    for part in ${list//,/ }; do mapfile -t -O "${#CPUS[@]}" CPUS < <(seq "${part%-*}" "${part#*-}"); done
}

# start NAME: with a log of its own, in a session of its own so that a terminal's Ctrl-C reaches only us.
start() {
    local name=$1 log=$RUN_DIR/log/$1.log worker command
    case $name in
        dispatcher) command=("$BIN/dispatcher" --config "$CONFIG" --workers "$WORKERS") ;;
        worker-*)
            worker=${name#worker-}
            command=("$BIN/engine" --config "$CONFIG" --worker "$worker" --workers "$WORKERS")
            [[ $PIN != true ]] || command+=(--cpu "${CPUS[worker % ${#CPUS[@]}]}")
            ;;
    esac
    touch "$log"
    LOG_FROM[$name]=$(stat -c %s "$log")
    if ((LOG_FROM[$name] > LOG_BYTES_MAX)); then
        mv "$log" "$log.1"
        LOG_FROM[$name]=0
    fi
    setsid "${command[@]}" >>"$log" 2>&1 </dev/null {LOCK}>&- &
    PID[$name]=$!
    record "$name" "${PID[$name]}" "${RESTARTS[$name]:=0}"
}

# The tail of what NAME said since it last started.
last_words() {
    tail -c "+$((${LOG_FROM[$1]:-0} + 1))" "$RUN_DIR/log/$1.log" | tail -n "$TAIL_LINES" | sed 's/^/    /' >&2
}

# await_ready NAME: until it says `ready KEY=ADDRESS`, which goes to READY_ADDRESS.
await_ready() {
    local name=$1
    until READY_ADDRESS=$(tail -c "+$((LOG_FROM[$name] + 1))" "$RUN_DIR/log/$name.log" |
        sed -n 's/^ready [a-z]*=//p;T;q') && [[ -n $READY_ADDRESS ]]; do
        uptime_ms
        if [[ ! -d /proc/${PID[$name]} ]]; then
            why_it_ended "${PID[$name]}"
            give_up "$name" "it $WHY before it was ready"
        elif ((NOW_MS >= READY_DEADLINE_MS)); then
            give_up "$name" "it was not ready within $READY_S s"
        fi
        sleep 0.05
    done
}

# why_it_ended PID: sets WHY
why_it_ended() {
    local status=0
    wait "$1" 2>/dev/null || status=$?
    WHY="ended with status $status"
    ((status <= 128)) || WHY="was killed by SIG$(kill -l $((status - 128)))"
}

# give_up NAME REASON: one process cannot be kept up, so the node is taken down, loudly.
give_up() {
    say "stopping the node: $1: $2"
    say "its last words:"
    last_words "$1"
    say "look at $RUN_DIR/log/$1.log; check the configuration with: $BIN/moorctl --config $CONFIG config check"
    end 1
}

# end STATUS
end() {
    trap '' TERM INT HUP
    rm -f "$RUN_DIR/ready"
    stop_node
    rm -f "$RUN_DIR/pid/supervisor"
    say "the node is down"
    exit "$1"
}

bury() { # NAME: a process is dead; it is due again after a back-off, or it is a crash loop
    local name=$1 died recent=() backoff_ms
    why_it_ended "${PID[$name]}"
    unset "PID[$name]"
    uptime_ms
    for died in ${DEATHS_MS[$name]:-} "$NOW_MS"; do
        ((NOW_MS - died > CRASH_LOOP_WINDOW_S * 1000)) || recent+=("$died")
    done
    DEATHS_MS[$name]=${recent[*]}
    if ((${#recent[@]} >= CRASH_LOOP_COUNT)); then
        give_up "$name" "crash loop, ${#recent[@]} deaths within $CRASH_LOOP_WINDOW_S s; the last time it $WHY"
    fi
    backoff_ms=$((RESTART_BACKOFF_MS << (${#recent[@]} < 20 ? ${#recent[@]} - 1 : 19)))
    ((backoff_ms <= RESTART_BACKOFF_MS_MAX)) || backoff_ms=$RESTART_BACKOFF_MS_MAX
    DUE_MS[$name]=$((NOW_MS + backoff_ms))
    say "$name $WHY; starting it again in $backoff_ms ms"
}

# One look at everything: bury the dead, start what is due.
tick() {
    local name
    for name in "${!PID[@]}"; do [[ -d /proc/${PID[$name]} ]] || bury "$name"; done
    ((${#DUE_MS[@]})) || return 0
    uptime_ms
    for name in "${!DUE_MS[@]}"; do
        ((NOW_MS >= DUE_MS[$name])) || continue
        unset "DUE_MS[$name]"
        RESTARTS[$name]=$((RESTARTS[$name] + 1))
        start "$name"
        say "$name started again (pid ${PID[$name]})"
    done
}

supervise() {
    local worker api pause_s
    SAY='%FT%T%z'
    mkdir -p "$RUN_DIR/pid" "$RUN_DIR/log" "$STATE_DIR"
    chmod 700 "$RUN_DIR" "$STATE_DIR"
    exec {LOCK}>"$RUN_DIR/supervisor.lock"
    flock -n "$LOCK" || die "a node is up in $RUN_DIR already; see tools/moorline status"
    if [[ -n $(recorded) ]]; then
        say "a supervisor ended here without stopping its processes; stopping what is left of them"
        stop_node
    fi
    rm -f "$RUN_DIR/ready"
    trap 'say "asked to stop"; end 0' TERM INT
    # The terminal that started it may close; keys are looked at every second, so there is nothing to reload.
    trap '' HUP
    record supervisor $$ 0
    find_cpus
    uptime_ms
    READY_DEADLINE_MS=$((NOW_MS + READY_S * 1000))

    start dispatcher
    await_ready dispatcher
    api=$READY_ADDRESS
    for ((worker = 0; worker < WORKERS; worker++)); do start "worker-$worker"; done
    for ((worker = 0; worker < WORKERS; worker++)); do await_ready "worker-$worker"; done
    echo "$api $READY_ADDRESS" >"$RUN_DIR/ready"
    say "ready: dispatcher and $WORKERS workers"
    while :; do
        pause_s=$TICK_S
        ((${#DUE_MS[@]} == 0)) || pause_s=$DUE_TICK_S
        sleep "$pause_s" {LOCK}>&- &
        wait -n $! "${PID[@]}" 2>/dev/null || : # ends early when a process does
        tick
    done
}
