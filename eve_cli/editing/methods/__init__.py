"""Ways to edit a window of latents, by name; a row is "module:object" of a `contract.EditMethod`."""

METHODS = {
    "eve": "eve_cli.editing.methods.eve:Eve",
    "per_frame": "eve_cli.editing.methods.per_frame:PerFrame",
    "sdedit": "eve_cli.editing.methods.sdedit:SDEdit",
    "dds": "eve_cli.editing.methods.dds:DDS",
    "assd": "eve_cli.editing.methods.assd:ASSD",
    "dreamix": "eve_cli.editing.methods.dreamix:Dreamix",
    "inversion": "eve_cli.editing.methods.inversion:Inversion",
    "pnp": "eve_cli.editing.methods.pnp:PnP",
    "tokenflow": "eve_cli.editing.methods.tokenflow:TokenFlow",
    "tune_a_video": "eve_cli.editing.methods.tune_a_video:TuneAVideo",
    "fairy": "eve_cli.editing.methods.fairy:Fairy",
    "rave": "eve_cli.editing.methods.rave:Rave",
    "copy": "eve_cli.editing.methods.copy:Copy",
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
