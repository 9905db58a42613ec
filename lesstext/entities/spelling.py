"""Which aliases are sought at all, how they are written, and the English words that rules know."""

from __future__ import annotations

COMMON, NAME, INITIALS = range(3)
"""How an alias is written: in small letters, with capitals, in capitals alone."""

_MAX_CHARACTERS = 100

FUNCTION_WORDS = frozenset(
    """
    a an and are as at be been being but by can could did do does for from had has have he
    her hers him his how i if in into is it its itself just me more most my no nor not of
    off on onto or our ours out over own per she should so some such than that the their
    theirs them then there these they this those through to too under until up upon us very
    via was we were what when where which while who whom whose why will with within without
    would you your yours
    """.split()  # noqa: SIM905
)
_NOT_SOUGHT = FUNCTION_WORDS | frozenset(
    """
    one two three four five six seven eight nine ten eleven twelve hundred thousand million
    first second third all any both each every few many much other others another several
    same self am pm ok yes etc st nd rd th vs mr mrs ms dr jr sr la le el de du des von van
    der den das die thing things something anything everything nothing someone anyone
    everyone way ways best better good great new old big little let get got put make made
    use used see set go
    """.split()  # noqa: SIM905
)
VERBISH = frozenset(
    """
    back bear bears bend bit blow blows board boxing break breaks can cast catch close cool
    cover covers cross crosses crossing cut cuts dress drink drinks drive drives drop drops
    duck face faces fall falls fan fast fire firm fit fits fix flat float floats fly flies
    fold folds front hang hold holds hop iron jump jumps kick kicks land lands last lead
    leads lean leap leaps left light lights like line lines live long look looks match mean
    mind miss open pass passes pet plain play plays point points pop pose poses post pull
    push race races rest rests right rings rock rocks roll rolls round row run runs sail
    sails saw seal shake shed ship shoot show shows sink sit sits slide slides smile smiles
    spring square stand stands star stare stares start stick stop stops swim swims swing
    swings take tan tap tear top train trip try turn turns walk walks watch watches wave
    waves well wind work works yellow white black red green blue brown pink purple grey gray
    orange gold silver
    """.split()  # noqa: SIM905
)
"""Single words that are more often no noun in a caption: not taken where no tagger tells."""
NO_NOUN_AFTER = frozenset(
    """
    i you he she we they who will would can could should may might
    """.split()  # noqa: SIM905
)
"""Words after which a single word is a verb."""

_IRREGULAR = {
    "child": "children",
    "foot": "feet",
    "goose": "geese",
    "mouse": "mice",
    "ox": "oxen",
    "person": "people",
    "tooth": "teeth",
    "calf": "calves",
    "half": "halves",
    "knife": "knives",
    "leaf": "leaves",
    "life": "lives",
    "loaf": "loaves",
    "scarf": "scarves",
    "shelf": "shelves",
    "thief": "thieves",
    "wife": "wives",
    "wolf": "wolves",
}
_PLURALS_IN_O = ("potato", "tomato", "hero", "echo", "mango", "buffalo", "volcano", "tornado")
_VOWELS = "aeiou"


def is_usable(alias: str) -> bool:
    """Whether an alias is worth being sought: two letters at least, and no word that says nothing.

    >>> [is_usable(alias) for alias in ("dog", "", "1984", "A", "Two", "US", "犬", "北京")]
    [True, False, False, False, False, True, False, True]
    """
    letters = sum(char.isalpha() for char in alias)
    says_nothing = alias.lower() in _NOT_SOUGHT and not alias.isupper()
    return letters > 1 and len(alias) <= _MAX_CHARACTERS and not says_nothing


def plural_of(alias: str) -> str | None:
    """The regular plural of a common noun, and of a few that have none; None for names.

    >>> [plural_of(one) for one in ("dog", "wine glass", "cherry", "fireman", "Turkey", "scissors")]
    ['dogs', 'wine glasses', 'cherries', 'firemen', None, None]
    """
    head, space, last = alias.rpartition(" ")
    if not (last.isascii() and last.isalpha() and last.islower() and alias.islower()):
        return None
    if len(last) < 3 or (last.endswith("s") and not last.endswith("ss")):
        return None
    return head + space + _plural_word(last)


def _plural_word(word: str) -> str:
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if word.endswith("man") and word not in ("human", "roman", "german", "caiman", "shaman"):
        return word[:-2] + "en"
    if word.endswith("y") and word[-2] not in _VOWELS:
        return word[:-1] + "ies"
    if word.endswith(("s", "x", "z", "ch", "sh")) or word in _PLURALS_IN_O:
        return word + "es"
    return word + "s"
