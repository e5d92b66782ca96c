# Changing settings of a machine: shows the difference, asks, keeps what was there, can put it back.
# Sourced by apply and nic, which bring along
#
#   value KEY        sets VALUE to what is there now; fails where there is no such setting
#   put KEY VALUE    writes, and sees whether it holds
#   UNDO             the file of previous values, and SAY, the script's name
#
#   wanted ──▶ difference ──▶ yes? ──▶ UNDO (first value of each key wins) ──▶ put
#                                        └──────────────── --undo ───────────▶ put
# shellcheck shell=bash

die() { printf '%s: %s\n' "$SAY" "$*" >&2; exit 1; }

# What would change: KEYS, NOW and WANTED side by side; SAME keys are as wanted already.
KEYS=() NOW=() WANTED=() SAME=0

# want KEY VALUE: notes it down where it differs from what is there; fails where there is no such setting.
want() {
    value "$1" || return 1
    if [[ $VALUE == "$2" ]]; then
        SAME=$((SAME + 1))
    else
        KEYS+=("$1") NOW+=("$VALUE") WANTED+=("$2")
    fi
}

show() {
    local i width=3
    for i in "${!KEYS[@]}"; do ((${#KEYS[i]} <= width)) || width=${#KEYS[i]}; done
    printf '%-*s %-26s %s\n' "$width" key now wanted
    for i in "${!KEYS[@]}"; do printf '%-*s %-26s %s\n' "$width" "${KEYS[i]}" "${NOW[i]}" "${WANTED[i]}"; done
}

# The undo file belongs to one boot: after the next, the kernel's own values are back anyway.
read -r BOOT </proc/sys/kernel/random/boot_id
is_of_this_boot() { [[ -f $1 ]] && [[ $(head -n 1 "$1") == "# boot $BOOT" ]]; }

# The file has a line `KEY = VALUE` for each previous value, and `#set KEY = VALUE` for each one written.
# undo_pairs FUNCTION: calls it with each key and previous value.
undo_pairs() {
    local line
    while read -r line; do
        [[ $line == '#'* ]] || "$1" "${line%% = *}" "${line#* = }"
    done <"$UNDO"
}

remember() {
    local i
    if ! is_of_this_boot "$UNDO"; then
        mkdir -p "$(dirname "$UNDO")" && printf '# boot %s\n' "$BOOT" >"$UNDO" || return 1
    fi
    for i in "${!KEYS[@]}"; do
        grep -q "^${KEYS[i]//./\\.} = " "$UNDO" || printf '%s = %s\n' "${KEYS[i]}" "${NOW[i]}" >>"$UNDO" || return 1
        printf '#set %s = %s\n' "${KEYS[i]}" "${WANTED[i]}" >>"$UNDO" || return 1
    done
}

# change: writes WANTED; says what could not be written and fails then.
change() {
    local i failed=0
    for i in "${!KEYS[@]}"; do
        if ! put "${KEYS[i]}" "${WANTED[i]}"; then
            printf 'could not set %s = %s (root? a container?)\n' "${KEYS[i]}" "${WANTED[i]}"
            failed=$((failed + 1))
        fi
    done
    echo "$((${#KEYS[@]} - failed)) changed, $failed could not be"
    ((failed == 0))
}

# show_and_change yes|no: the whole of it; `no` asks first.
show_and_change() {
    local answer
    if ((${#KEYS[@]} == 0)); then
        echo "nothing to change, $SAME keys are as wanted already"
        return
    fi
    show
    if [[ $1 != yes ]]; then
        read -rp "Change these ${#KEYS[@]} keys (the other $SAME are as wanted)? [y/N] " answer || :
        [[ ${answer:-} == [yY]* ]] || die "nothing changed"
    fi
    remember || die "cannot write $UNDO, so nothing was changed"
    change
}

# want_back KEY VALUE: what went away since, an interface for example, took its setting with it.
want_back() { want "$1" "$2" || echo "gone since, left out: $1"; }

undo() {
    is_of_this_boot "$UNDO" || die "nothing to undo since this machine started ($UNDO)"
    undo_pairs want_back
    show
    change || die "kept $UNDO, run --undo again"
    rm "$UNDO"
}
