#!/bin/sh
# Teaches mini a toy robot (or a way to print) from twelve pictures, and edits with it.
#
#   examples/lora_mini.sh
#   KIND=style examples/lora_mini.sh
#
# KIND     subject (a toy robot, asked for as <toy>) or style (two inks, asked for as <ink>); default subject
# OUT      folder of the pictures, the run and the results (default runs/lora)
# STEPS    steps of the training (default 300: some minutes on 2 cores)
# EVE      the command (default eve)
set -eu
KIND=${KIND:-subject} OUT=${OUT:-runs/lora} STEPS=${STEPS:-300} EVE=${EVE:-eve}
case $KIND in
subject) token="<toy>" ask="replace the car with <toy>" ;;
style) token="<ink>" ask="make it <ink>" ;;
*) echo "KIND must be subject or style, not $KIND" >&2; exit 2 ;;
esac
home=$OUT/$KIND

[ -d "$home/pictures" ] || $EVE data novel "$KIND" --token "$token" --out "$home/pictures" >&2
[ -d "$home/run/lora" ] ||
    $EVE train lora --images "$home/pictures" --token "$token" --kind "$KIND" --steps "$STEPS" --out "$home/run" >&2
# A video, and a picture: the first frame of the same scene.
$EVE edit examples/car.mp4 "$ask" --lora "$home/run/lora" --seed 7 --end 1 --overwrite --output "$home/car.mp4"
