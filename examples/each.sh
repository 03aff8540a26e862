#!/bin/sh
# Edits clips one by one: the result's name is all that eve prints on stdout, and its exit code says what went wrong.
#
#   examples/each.sh "make it snowy" examples/car.mp4 examples/boat.mp4
#
# OUT   folder of the results (default runs/each)
# MORE  further options of eve edit, such as --steps 2
# EVE   the command (default eve)
set -eu
OUT=${OUT:-runs/each} MORE=${MORE:-} EVE=${EVE:-eve}
[ $# -ge 2 ] || { echo "usage: $0 INSTRUCTION CLIP..." >&2; exit 2; }
ask=$1 worst=0
shift
mkdir -p "$OUT"

for clip; do
    name=$(basename "$clip")
    status=0
    # shellcheck disable=SC2086
    result=$($EVE edit "$clip" "$ask" --seed 7 --quiet --overwrite --output "$OUT/${name%.*}.mp4" $MORE) || status=$?
    case $status in
    0) echo "$result" ;;
    3) echo "$clip cannot be read, on with the next" >&2; worst=6 ;;
    130) exit 130 ;; # the keyboard; what is finished stays, eve has said how to go on
    *) exit "$status" ;;
    esac
done
exit "$worst"
