#!/bin/sh
# Teaches mini a thing (or a way to print) from twelve pictures, aligns its edits with it, and edits a video.
#
#   examples/lora_mini.sh
#   KIND=style examples/lora_mini.sh
#
# KIND     ball (in bands of its own, asked for as "a z ball"), style (two inks, asked for as <ink>) or subject (a toy
#          robot, <toy>, which is more than mini can learn from twelve pictures); default ball
# OUT      folder of the pictures, the runs and the results (default runs/lora)
# STEPS    steps of the training (default 600: some minutes on 2 cores)
# ALIGN    steps of the alignment (default 80: a minute or two)
# EVE      the command (default eve)
set -eu
KIND=${KIND:-ball} OUT=${OUT:-runs/lora} STEPS=${STEPS:-600} ALIGN=${ALIGN:-80} EVE=${EVE:-eve}
case $KIND in
ball) token="a z ball" kind=subject ask="add a z ball" ;;
style) token="<ink>" kind=style ask="make it <ink>" ;;
subject) token="<toy>" kind=subject ask="put <toy> in the scene" ;;
*) echo "KIND must be ball, style or subject, not $KIND" >&2; exit 2 ;;
esac
home=$OUT/$KIND

[ -d "$home/pictures" ] || $EVE data novel "$KIND" --token "$token" --out "$home/pictures" >&2
[ -d "$home/run/lora" ] ||
    $EVE train lora --images "$home/pictures" --token "$token" --kind "$kind" --steps "$STEPS" --out "$home/run" >&2
[ -d "$home/aligned/lora" ] ||
    $EVE align --teachers "edit,lora:$home/run/lora" --steps "$ALIGN" --out "$home/aligned" >&2
$EVE edit examples/car.mp4 "$ask" --lora "$home/aligned/lora" --seed 7 --end 1 --overwrite --output "$home/car.mp4"
