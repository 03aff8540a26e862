"""Ways to edit a window of latents, by name; a row is "module:object" of a `contract.EditMethod`."""

METHODS = {
    "eve": "eve_cli.methods.eve:Eve",
    "per_frame": "eve_cli.methods.per_frame:PerFrame",
    "sdedit": "eve_cli.methods.sdedit:SDEdit",
    "dds": "eve_cli.methods.dds:DDS",
    "assd": "eve_cli.methods.assd:ASSD",
    "dreamix": "eve_cli.methods.dreamix:Dreamix",
    "inversion": "eve_cli.methods.inversion:Inversion",
    "pnp": "eve_cli.methods.pnp:PnP",
    "tokenflow": "eve_cli.methods.tokenflow:TokenFlow",
    "tune_a_video": "eve_cli.methods.tune_a_video:TuneAVideo",
    "fairy": "eve_cli.methods.fairy:Fairy",
    "rave": "eve_cli.methods.rave:Rave",
    "copy": "eve_cli.methods.copy:Copy",
}

NEEDS = {
    "eve": ("edit", "video"),
    "per_frame": ("edit",),
    "fairy": ("edit",),
    "rave": ("edit",),
    "sdedit": ("video",),
    "dds": ("video",),
    "assd": ("video",),
    "dreamix": ("video",),
    "inversion": ("video",),
    "tune_a_video": ("video",),
}
"""The adapters without which a method edits no video; others need the backbone alone. Pictures need no video one."""
