"""Every word a caption or an instruction can hold, as tables: what can be seen -> ways to say it.

Fields in braces are filled in with other entries of these tables or with a colour's name. Nothing
outside this file and the colour tables puts words into a text, which keeps the vocabulary closed.
"""

from __future__ import annotations

from collections.abc import Mapping

Ways = tuple[str, ...]

# -- who --------------------------------------------------------------------------------------

AGE: Mapping[str, Ways] = {
    "young": ("young",),
    "adult": ("", "", "adult"),
    "middle-aged": ("middle-aged",),
    "older": ("older",),
    "elderly": ("elderly", "old"),
}
NOUN: Mapping[str, Ways] = {"woman": ("woman",), "man": ("man",), "person": ("person",)}
# subject, object, possessive, is, has, wears
PRONOUNS: Mapping[str, Ways] = {
    "woman": ("she", "her", "her", "is", "has", "wears"),
    "man": ("he", "him", "his", "is", "has", "wears"),
    "person": ("they", "them", "their", "are", "have", "wear"),
}
FRAMING: Mapping[str, Ways] = {
    "close-up": ("close-up", "close-up portrait", "close portrait"),
    "portrait": ("portrait", "picture", "photo", "portrait photo"),
    "head and shoulders": ("head and shoulders portrait", "head and shoulders picture"),
}
SKIN: Mapping[str, Ways] = {
    "light": ("light skin", "fair skin", "pale skin"),
    "tan": ("tan skin", "olive skin"),
    "brown": ("brown skin", "medium brown skin"),
    "dark": ("dark skin", "deep dark skin"),
}
FRECKLES: Ways = ("freckles", "a freckled face")
EYES: Ways = ("{colour} eyes",)

# -- hair -------------------------------------------------------------------------------------

HAIR_COLOUR: Mapping[str, Ways] = {
    "black": ("black",), "dark brown": ("dark brown",), "brown": ("brown",), "chestnut": ("chestnut",),
    "auburn": ("auburn",), "red": ("red", "ginger"), "blond": ("blond", "blonde"),
    "light blond": ("light blond", "very light blonde"), "grey": ("grey", "gray"), "white": ("white",),
    "blue": ("blue", "bright blue"), "pink": ("pink", "bright pink"), "green": ("green", "bright green"),
    "purple": ("purple", "bright purple"),
}  # fmt: skip
GREYING = "greying {colour}"
HAIR: Mapping[str, Ways] = {
    "bald": ("a bald head", "a shaved head"),
    "buzz cut": ("a {colour} buzz cut",),
    "short hair": ("short {colour} hair", "{colour} hair cut short"),
    "side part": ("{colour} hair with a side part", "short {colour} hair with a side part"),
    "quiff": ("a {colour} quiff", "{colour} hair combed up into a quiff"),
    "bob": ("a {colour} bob", "{colour} hair cut in a bob"),
    "long hair": ("long {colour} hair", "long straight {colour} hair"),
    "wavy hair": ("wavy {colour} hair", "long wavy {colour} hair"),
    "bun": ("{colour} hair in a bun", "{colour} hair tied up in a bun"),
    "ponytail": ("{colour} hair in a ponytail", "a {colour} ponytail"),
    "pigtails": ("{colour} hair in pigtails", "{colour} pigtails"),
    "curls": ("curly {colour} hair", "{colour} curls"),
    "afro": ("a {colour} afro", "a big {colour} afro"),
    "hair": ("{colour} hair",),  # its cut hidden under a hat
}
FRINGE: Ways = ("a fringe", "bangs")
BEARD: Mapping[str, Ways] = {
    "stubble": ("stubble", "some stubble"),
    "moustache": ("a moustache",),
    "goatee": ("a goatee",),
    "short beard": ("a short beard",),
    "full beard": ("a full beard", "a big full beard"),
}

# -- what the face and the head do ------------------------------------------------------------

EXPRESSION_DOING: Mapping[str, Ways] = {
    "smiling": ("smiling", "smiling softly"),
    "grinning": ("grinning", "grinning broadly"),
    "laughing": ("laughing", "laughing out loud", "laughing happily"),
    "surprised": ("looking surprised",),
    "frowning": ("frowning",),
    "sad": ("looking sad",),
    "winking": ("winking",),
    "smirking": ("smirking",),
}
EXPRESSION_HAVING: Mapping[str, Ways] = {
    "neutral": ("a neutral expression", "a calm neutral face"),
    "smiling": ("a smile", "a friendly smile", "a happy smile"),
    "grinning": ("a big grin", "a wide grin", "a happy grin"),
    "surprised": ("a surprised look", "a surprised face"),
    "frowning": ("a frown", "an angry frown"),
    "sad": ("a sad face", "a sad look"),
    "eyes closed": ("closed eyes", "eyes closed"),
    "smirking": ("a smirk",),
}
WINKING_EYE = "winking the {side} eye"
GAZE: Mapping[str, Ways] = {
    "camera": ("looking at the camera", "looking straight at us"),
    "left": ("looking to the left", "glancing left"),
    "right": ("looking to the right", "glancing right"),
    "up": ("looking up", "glancing up"),
    "down": ("looking down", "glancing down"),
}
TURN: Mapping[str, Ways] = {
    "slightly left": ("turned slightly to the left", "turned a little to the left"),
    "left": ("turned to the left",),
    "slightly right": ("turned slightly to the right", "turned a little to the right"),
    "right": ("turned to the right",),
}
FACING: Ways = ("facing the camera", "facing us", "seen from the front")
NOD: Mapping[str, Ways] = {"up": ("raised",), "down": ("lowered",)}
TILT: Mapping[str, Ways] = {"left": ("tilted to the left",), "right": ("tilted to the right",)}

# -- what is worn -----------------------------------------------------------------------------

GARMENT: Mapping[str, Ways] = {
    "t-shirt": ("t-shirt",),
    "v-neck": ("v-neck", "v-neck top"),
    "turtleneck": ("turtleneck", "turtleneck sweater"),
    "hoodie": ("hoodie",),
    "shirt": ("shirt", "collared shirt"),
    "jacket": ("jacket",),
    "scoop top": ("scoop top", "scoop-neck top"),
}
PATTERN: Mapping[str, Ways] = {
    "plain": ("{colour} {garment}", "plain {colour} {garment}"),
    "striped": ("{colour} and {second} striped {garment}", "{colour} {garment} with {second} stripes"),
    "pinstriped": (
        "{colour} {garment} with {second} pinstripes",
        "{colour} {garment} with thin {second} pinstripes",
    ),
    "checked": ("{colour} and {second} checked {garment}", "{colour} {garment} with {second} checks"),
    "polka-dot": ("{colour} {garment} with {second} dots", "{colour} polka-dot {garment} with {second} dots"),
    "camouflage": ("{colour} and {second} camouflage {garment}",),
}
LOGO: Mapping[str, Ways] = {
    "ring": (" with a ring on it", " with a ring logo"),
    "square": (" with a square on it", " with a square logo"),
    "triangle": (" with a triangle on it", " with a triangle logo"),
}
INNER: Ways = (" over a {colour} top",)
GLASSES: Mapping[str, Ways] = {
    "glasses": ("{colour} glasses", "glasses with {colour} frames"),
    "round glasses": ("round {colour} glasses", "round glasses with {colour} frames"),
    "sunglasses": ("{colour} sunglasses", "sunglasses with {colour} frames"),
}
HAT: Mapping[str, Ways] = {
    "cap": ("{colour} cap", "{colour} baseball cap"),
    "beanie": ("{colour} beanie", "{colour} beanie hat", "{colour} knit beanie"),
    "bobble hat": ("{colour} bobble hat",),
    "sun hat": ("{colour} sun hat", "wide {colour} sun hat"),
}
HAT_SHORT = "a {colour} hat"
TRIM: Mapping[str, Ways] = {
    "cap": (" with a {colour} brim",),
    "bobble hat": (" with a {colour} bobble",),
    "sun hat": (" with a {colour} brim",),
}
EARRINGS: Mapping[str, Ways] = {
    "studs": ("{metal} stud earrings", "{metal} studs"),
    "hoops": ("{metal} hoop earrings", "{metal} hoops"),
}
NECKLACE: Mapping[str, Ways] = {
    "chain": ("a {metal} chain", "a {metal} chain around the neck"),
    "beads": ("a {metal} bead necklace", "a necklace of {metal} beads"),
    "pendant": ("a {metal} pendant", "a {metal} necklace with a pendant"),
}
SCARF: Ways = ("a {colour} scarf", "a {colour} scarf around the neck")
LIPSTICK: Ways = ("{colour} lipstick",)
EYESHADOW: Ways = ("{colour} eyeshadow",)

# -- where ------------------------------------------------------------------------------------

PLACE: Mapping[str, Ways] = {
    "studio": (
        "against a plain {colour} background",
        "in front of a plain {colour} wall",
        "in a {colour} studio",
    ),
    "room": ("in a room with {colour} walls", "indoors in a {colour} room"),
    "beach": ("on a beach", "in front of the sea", "at the beach by the sea", "by the ocean"),
    "forest": ("in a forest", "in front of trees", "in the woods"),
    "city": ("in a city", "in front of tall buildings", "on a city street"),
    "lights": (
        "at night with blurred lights",
        "in front of city lights at night",
        "in front of glowing lights",
    ),
}
PLACE_NOUN: Mapping[str, Ways] = {
    "studio": ("a plain {colour} background", "a plain {colour} wall", "a {colour} studio"),
    "room": ("a room with {colour} walls", "a {colour} room"),
    "beach": ("a beach", "the sea", "a beach by the sea"),
    "forest": ("a forest", "trees", "the woods"),
    "city": ("a city", "tall buildings", "a city street"),
    "lights": ("blurred lights at night", "city lights at night", "glowing lights"),
}
LIGHT: Mapping[str, Ways] = {
    "soft": ("in soft light", "in soft even light"),
    "window": ("in window light", "in the light of a window"),
    "sunset": ("at sunset", "in warm sunset light", "in the evening at sunset"),
    "noon": ("in bright sunshine", "in the midday sun", "on a sunny day"),
    "rim": ("in rim light", "lit from behind"),
    "cool": ("in cool light", "in cool blue light"),
    "studio": ("in studio light", "under studio lights"),
    "neon": ("in neon light", "under neon lights"),
}
LIGHT_NOUN: Mapping[str, Ways] = {
    "soft": ("soft light", "soft even light"),
    "window": ("window light", "the light of a window"),
    "sunset": ("warm sunset light", "sunset light"),
    "noon": ("bright sunshine", "midday sun"),
    "rim": ("rim light", "light from behind"),
    "cool": ("cool light", "cool blue light"),
    "studio": ("studio light",),
    "neon": ("neon light",),
}
NO_SIDE = ("at sunset", "in the evening at sunset", "on a sunny day")  # ways that a side does not go with
LIGHT_SIDE: Mapping[str, str] = {"left": " from the left", "right": " from the right"}

# -- sentences --------------------------------------------------------------------------------

AND = " and "
WITH = "with {things}"
OF = "{framing} of {person}"
WEARING: Ways = ("wearing {things}",)
HEAD = "head {parts}"
WITH_HEAD = "with {possessive} head {parts}"
SENTENCE_WEARS: Ways = ("{subject} {wears} {things}", "{subject} {is} wearing {things}")
SENTENCE_HAS = "{subject} {has} {things}"
SENTENCE_IS = "{subject} {is} {doing}"
SENTENCE_HEAD = "{possessive} head is {parts}"
SENTENCE_PLACE: Ways = ("the background shows {place}", "the picture shows {place} behind {object}")
SENTENCE_LIGHT: Ways = ("{subject} {is} lit by {light}",)
ARTICLES: Ways = ("a", "an")

# -- instructions: what to change, `{object}` and `{possessive}` as in PRONOUNS ------------------

ITEM_ADD: Ways = ("put on {item}", "add {item}", "give {object} {item}")
ITEM_REMOVE: Ways = ("remove the {thing}", "take off the {thing}")
ITEM_SWAP: Ways = ("swap the {old} for {item}", "replace the {old} with {item}", "change the {old} to {item}")
ITEM_RECOLOUR: Ways = ("make the {thing} {colour}", "change the colour of the {thing} to {colour}")
NOUN_OF: Mapping[str, str] = {
    "glasses": "glasses", "round glasses": "round glasses", "sunglasses": "sunglasses", "cap": "cap",
    "beanie": "beanie", "bobble hat": "bobble hat", "sun hat": "sun hat", "studs": "stud earrings",
    "hoops": "hoop earrings", "chain": "chain", "beads": "bead necklace", "pendant": "pendant",
    "scarf": "scarf", "lipstick": "lipstick", "eyeshadow": "eyeshadow",
}  # fmt: skip
TRIM_NOUN: Mapping[str, str] = {"cap": "brim", "bobble hat": "bobble", "sun hat": "brim"}
MAKEUP_ADD: Ways = ("add {item}", "put on {item}")
MAKEUP_REMOVE: Ways = ("remove the {thing}", "wipe off the {thing}")
DRESS: Ways = ("change the clothes to {item}", "dress {object} in {item}")
HAIR_CHANGE: Ways = ("give {object} {item}", "change the hair to {item}")
HAIR_SHAVE: Ways = ("shave {possessive} head", "make {object} bald")
HAIR_DYE: Ways = ("make the hair {colour}", "change the hair colour to {colour}", "dye the hair {colour}")
FRINGE_ADD: Ways = ("add a fringe", "give {object} a fringe", "give {object} bangs")
FRINGE_REMOVE: Ways = ("remove the fringe", "take away the bangs")
BEARD_ADD: Ways = ("add {item}", "give {object} {item}")
BEARD_REMOVE: Ways = ("remove the {thing}", "shave off the {thing}")
BEARD_NOUN: Mapping[str, str] = {
    "stubble": "stubble", "moustache": "moustache", "goatee": "goatee", "short beard": "beard",
    "full beard": "beard",
}  # fmt: skip
EXPRESSION_CHANGE: Mapping[str, Ways] = {
    "neutral": ("make the expression neutral", "give {object} a neutral expression"),
    "smiling": ("make {object} smile", "let {object} smile"),
    "grinning": ("make {object} grin", "give {object} a big grin"),
    "laughing": ("make {object} laugh", "let {object} laugh"),
    "surprised": ("make {object} look surprised", "give {object} a surprised look"),
    "frowning": ("make {object} frown", "let {object} frown"),
    "sad": ("make {object} look sad", "give {object} a sad face"),
    "winking": ("make {object} wink", "let {object} wink"),
    "eyes closed": ("close {possessive} eyes", "make {object} close {possessive} eyes"),
    "smirking": ("make {object} smirk", "give {object} a smirk"),
}
WINK_SIDE = " with the {side} eye"
GAZE_CHANGE: Mapping[str, Ways] = {
    "camera": ("make {object} look at the camera", "let {object} look straight at us"),
    "left": ("make {object} look to the left", "let {object} glance left"),
    "right": ("make {object} look to the right", "let {object} glance right"),
    "up": ("make {object} look up", "let {object} glance up"),
    "down": ("make {object} look down", "let {object} glance down"),
}
TURN_CHANGE: Mapping[str, Ways] = {
    "camera": ("turn {possessive} head to the camera", "make {object} face the camera"),
    "slightly left": ("turn the head slightly to the left", "turn {possessive} head a little to the left"),
    "left": ("turn the head to the left", "turn {possessive} head far to the left"),
    "slightly right": ("turn the head slightly to the right", "turn {possessive} head a little to the right"),
    "right": ("turn the head to the right", "turn {possessive} head far to the right"),
}
NOD_CHANGE: Mapping[str, Ways] = {
    "up": ("raise {possessive} head", "raise the head"),
    "down": ("lower {possessive} head", "lower the head"),
    "": ("hold the head level",),
}
TILT_CHANGE: Mapping[str, Ways] = {
    "left": ("tilt the head to the left", "tilt {possessive} head to the left"),
    "right": ("tilt the head to the right", "tilt {possessive} head to the right"),
    "": ("hold the head straight", "keep {possessive} head straight"),
}
PLACE_CHANGE: Ways = (
    "change the background to {item}",
    "replace the background with {item}",
    "put {object} {place}",
)
WALL_CHANGE: Mapping[str, Ways] = {
    "studio": ("make the background {colour}", "change the colour of the background to {colour}"),
    "room": ("make the walls {colour}", "paint the walls {colour}"),
}
LIGHT_CHANGE: Ways = ("change the light to {item}", "show {object} {light}")
LIGHT_SIDE_CHANGE: Mapping[str, Ways] = {
    "left": ("let the light come from the left", "light {object} from the left"),
    "right": ("let the light come from the right", "light {object} from the right"),
    "": ("let the light come from the front", "light {object} from the front"),
}
FRAMING_CHANGE: Mapping[str, Ways] = {
    "close-up": ("make it a close-up", "zoom in to a close-up"),
    "portrait": ("make it a portrait", "frame it as a portrait"),
    "head and shoulders": ("zoom out to head and shoulders", "show the head and shoulders"),
}
NOTHING: Ways = ("keep everything as it is", "change nothing")
THEN = ", then "
