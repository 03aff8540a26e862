#!/bin/sh
# Plans an edit, shows a part of it at several strengths, and then does it with the one that you choose.
#
#   examples/careful.sh
#   CLIP=surf.mp4 ASK="make it night" STRENGTHS=1,2,4 CHOICE=2 examples/careful.sh
#
# CLIP       what to edit (default examples/car.mp4)
# ASK        what to change (default "make it snowy")
# STRENGTHS  values of --guidance-scale to look at (default 1,1.5,2)
# CHOICE     the one to take (default 1.5); its windows in the preview are not made again
# OUT        folder of the results (default runs/careful)
# MORE       further options of eve edit, such as --steps 2
# EVE        the command (default eve)
set -eu
CLIP=${CLIP:-examples/car.mp4} ASK=${ASK:-make it snowy} STRENGTHS=${STRENGTHS:-1,1.5,2} CHOICE=${CHOICE:-1.5}
OUT=${OUT:-runs/careful} MORE=${MORE:-} EVE=${EVE:-eve}
mkdir -p "$OUT"

# Exit code 5: it would not fit into memory. Any other: the clip or the options are wrong, and it was said why.
# shellcheck disable=SC2086
$EVE plan "$CLIP" "$ASK" --seed 7 $MORE >&2

# shellcheck disable=SC2086
page=$($EVE preview "$CLIP" "$ASK" --seed 7 --guidance-scale "$STRENGTHS" $MORE --output "$OUT/preview.png")
echo "look at $page and $OUT/preview.png" >&2

# shellcheck disable=SC2086
$EVE edit "$CLIP" "$ASK" --seed 7 --guidance-scale "$CHOICE" $MORE --output "$OUT/result.mp4" --overwrite
