"""How edits are judged: the name of each metric and where it lives; `eve eval ls` shows their columns."""

METRICS = {
    "preservation": "eve_cli.evaluation.metrics.preservation:Preservation",
    "change": "eve_cli.evaluation.metrics.change:Change",
    "warp": "eve_cli.evaluation.metrics.warp:Warp",
    "flicker": "eve_cli.evaluation.metrics.flicker:Flicker",
    "seam": "eve_cli.evaluation.metrics.seam:Seam",
    "sharpness": "eve_cli.evaluation.metrics.sharpness:Sharpness",
    "truth": "eve_cli.evaluation.metrics.truth:Truth",
    "clip_frame": "eve_cli.evaluation.metrics.clip_frame:ClipFrame",
    "clip_text": "eve_cli.evaluation.metrics.clip_text:ClipText",
    "pick_score": "eve_cli.evaluation.metrics.pick_score:PickScore",
    "viclip": "eve_cli.evaluation.metrics.viclip:Internvid",
    "viclip_vbench": "eve_cli.evaluation.metrics.viclip:Vbench",
    "viclip_editverse": "eve_cli.evaluation.metrics.viclip:Editverse",
    "viclip_b16": "eve_cli.evaluation.metrics.viclip:InternvidB16",
    "assd": "eve_cli.evaluation.metrics.assd:Assd",
    "editverse": "eve_cli.evaluation.metrics.editverse:Editverse",
    "vbench": "eve_cli.evaluation.metrics.vbench:Vbench",
    "world_clip": "eve_cli.evaluation.metrics.world_clip:WorldClip",
    "world_viclip": "eve_cli.evaluation.metrics.world_viclip:WorldViclip",
}
