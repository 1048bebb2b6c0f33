"""InstantPortrait: a portrait edited by an instruction, in one step (IDE-Net and IPNet)."""
