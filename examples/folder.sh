#!/bin/sh
# Edits all videos of a folder with one model, overnight if need be: run it again and it goes on where it stopped.
#
#   examples/folder.sh
#   CLIPS=~/holidays ASK="make it snowy" examples/folder.sh
#
# CLIPS  a folder, or a manifest (.csv or .jsonl) with a column input (default examples)
# ASK    what to change where the manifest says nothing else (default "make it snowy")
# OUT    folder of the results (default runs/folder)
# MORE   further options of eve edit, such as --steps 2
# EVE    the command (default eve)
set -eu
CLIPS=${CLIPS:-examples} ASK=${ASK:-make it snowy} OUT=${OUT:-runs/folder} MORE=${MORE:-} EVE=${EVE:-eve}

mkdir -p "$OUT"
told=$OUT/told.jsonl status=0
# shellcheck disable=SC2086
$EVE batch "$CLIPS" "$ASK" --out "$OUT" $MORE >"$told" || status=$?
[ "$status" = 0 ] || [ "$status" = 6 ] || exit "$status" # 6: some rows failed, all others are done

count() { grep -c "\"status\": \"$1\"" "$told" || true; }
echo "$(count done) done, $(count before) done before, $(count failed) failed; all of it: $OUT/results.jsonl"
rm "$told"
exit "$status"
