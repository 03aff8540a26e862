"""Options that a method has of its own, by the method's name; a row is "module:object" of a `base.MethodOptions`."""

OPTIONS = {
    "per_frame": "eve_cli.methods.options.per_frame:PerFrameOptions",
    "sdedit": "eve_cli.methods.options.sdedit:SDEditOptions",
    "dds": "eve_cli.methods.options.dds:DDSOptions",
    "assd": "eve_cli.methods.options.assd:ASSDOptions",
    "dreamix": "eve_cli.methods.options.dreamix:DreamixOptions",
    "inversion": "eve_cli.methods.options.inverting:InvertingOptions",
    "pnp": "eve_cli.methods.options.injecting:InjectingOptions",
    "tokenflow": "eve_cli.methods.options.tokenflow:TokenFlowOptions",
    "tune_a_video": "eve_cli.methods.options.tune_a_video:TuneAVideoOptions",
    "fairy": "eve_cli.methods.options.fairy:FairyOptions",
    "rave": "eve_cli.methods.options.rave:RaveOptions",
}
