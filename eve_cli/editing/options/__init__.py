"""Options that a method has of its own, by the method's name; a row is "module:object" of a `base.MethodOptions`."""

OPTIONS = {
    "per_frame": "eve_cli.editing.options.per_frame:PerFrameOptions",
    "sdedit": "eve_cli.editing.options.sdedit:SDEditOptions",
    "dds": "eve_cli.editing.options.dds:DDSOptions",
    "assd": "eve_cli.editing.options.assd:ASSDOptions",
    "dreamix": "eve_cli.editing.options.dreamix:DreamixOptions",
    "inversion": "eve_cli.editing.options.inverting:InvertingOptions",
    "pnp": "eve_cli.editing.options.injecting:InjectingOptions",
    "tokenflow": "eve_cli.editing.options.tokenflow:TokenFlowOptions",
    "tune_a_video": "eve_cli.editing.options.tune_a_video:TuneAVideoOptions",
    "fairy": "eve_cli.editing.options.fairy:FairyOptions",
    "rave": "eve_cli.editing.options.rave:RaveOptions",
}
