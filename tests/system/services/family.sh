#!/bin/sh
# A main process and a child of it, which say who they are and what happens to them: `family.sh MAIN CHILD`.
# Each of the two is `dies` (of SIGTERM), `ignores` (SIGTERM) or `tells` (that SIGTERM came, and ends).
# A shell waits for its `sleep`, and hears of a signal when that ended; so sleeps are short.

become() {
    who=$1
    case $2 in
    ignores) trap '' TERM ;;
    tells) trap 'echo "$who heard SIGTERM"; exit 0' TERM ;;
    esac
}

live() {
    while :; do
        sleep 0.05
    done
}

(
    become child "$2"
    # `$$` would be the pid of the main process, here too.
    read -r pid _ </proc/self/stat
    echo "child $pid"
    live
) &
become main "$1"
echo "main $$"
live
