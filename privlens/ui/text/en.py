"""Every sentence that a person reads on the page, by the part of the page that it is on."""

from collections.abc import Sequence

from privlens.types import Exposure

# Used in several parts

ERROR = "Error"
START = "Start"
CANCEL = "Cancel"
MORE_NUMBERS = "More numbers"
UNDO = "Undo"
REDO = "Redo"
SEED = "Seed"
METHOD = "Method"
METHODS = "Methods"
DONE = "done"
STARTING = "starting"
WHICH_ARE_KNOWN = "which other secrets does the model know?"
NO_SECRET_TICKED = "No secret is ticked: tick at least one; two or more can be compared."
NO_METHOD_TICKED = "No method is ticked: tick at least one; two or more can be compared."
NO_YES = ("no", "yes")


def counted(n: int, noun: str) -> str:
    """A number of things, such as 1 edit or 3 edits."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def mean_of_all(note: str, n: int) -> str:
    """A note on a number that is the mean over several secrets."""
    return f"{note}; mean of all" if n > 1 else note


def before(number: str) -> str:
    """The number before the change."""
    return f"before: {number}"


def control(number: str) -> str:
    """The control's number."""
    return f"control: {number}"


def random(number: str) -> str:
    """The number with random neurons off."""
    return f"random: {number}"


# Runs

CANCELLED = "Cancelled. What you had is unchanged."
OUTDATED = "Stopped: you changed the secret, the neurons or the model."
NOTICE = "Notice"


def in_turns(text: str, n_others: int) -> str:
    """A run's bar while others are under way."""
    others = "another run" if n_others == 1 else f"{n_others} other runs"
    return f"{text}; taking turns with {others}"


def step(stage: str, at: int, n_steps: int, seconds: float, left: int | None) -> str:
    """A run's bar; `left` is in seconds, where it can be told."""
    end = f", about {left} s left" if left is not None else ""
    return f"{stage}: step {at} of {n_steps}, {seconds:.0f} s{end}"


# What results were made with

RUN_AGAIN = "These results were made with other settings than the current ones: run again."
LOCALIZE_AGAIN = "These neurons were localized with other settings than the current ones: localize again."
MADE_WITH = "Made with"


def made_with_but_now(made: str, changed: str) -> str:
    """What an outdated result was made with, and what is different now."""
    return f"{MADE_WITH} {made}. Now: {changed}."


def weights_with_edits(model: str, n: int, fingerprint: str) -> str:
    """The model with the visitor's active edits."""
    return f"{model} with {counted(n, 'edit')} in place ({fingerprint})"


def weights_with_other_edits(model: str, n: int, fingerprint: str) -> str:
    """The model with edits that are not all active any more."""
    return f"{model} with {counted(n, 'edit')} that {'is' if n == 1 else 'are'} not in place as before ({fingerprint})"


def weights_without_edits(model: str) -> str:
    """The model itself."""
    return f"{model} without edits"


def other_model(fingerprint: str) -> str:
    """A model that is no longer chosen."""
    return f"another model ({fingerprint})"


# Header

SWITCH_EDITS_OFF = "Switch the edits off"
NO_SECRET_YET = "no secret yet"
NO_EDITS = "no edits"


def secret(value: str) -> str:
    """The secret in question."""
    return f"secret {value}"


def edits_active(n: int, names: str) -> str:
    """That tabs work on edited weights."""
    return f"{counted(n, 'edit')} active ({names}): every tab works on the edited weights."


SKIP_TO_MAIN = "Skip to the open tab"


# Sidebar

QUESTION = "Where does a language model keep a private string, and what happens when those neurons are off?"
SECRET_HEADING = "### Secret"
EXAMPLES_OF = "Examples of category"
ALL_CATEGORIES = "all categories"
NO_CATEGORY = "no category"
SEARCH = "Search in prompts and values"
EXAMPLES = "Example secrets (times in the training text)"
PROMPT = "Prompt: what the model is given"
VALUE = "Private value: what it should not know"
CHAT = "ask as a chat turn, with the model's template"
SHOW_PAGE = "Done: show the page"
OWN_LIST_HEADING = "Your own list and reference text"
OWN_LIST_FILE = "Secrets: CSV or JSON lines with prompt, value (category)"
OWN_LIST = "Your list"
OWN_REFERENCE = "Ordinary text that must not change (empty: the bundled text)"
NOTHING_FOUND = "nothing found"
TICK_CATEGORIES = "Tick all of these categories"
TICK_SEARCH = "Search for secrets to tick"


def list_unchanged(error: str) -> str:
    """What is said of a list that cannot be read."""
    return f"{error} The previous list is still in use."


def showing(n_shown: int, n: int) -> str:
    """That not all are shown."""
    return f"showing {n_shown:,} of {n:,}: search to see others"


def ticked_most(n: int, most: int) -> str:
    """That not all of some categories are ticked."""
    return f"The {most} most repeated of {n:,} secrets are ticked, which is the maximum."


def list_read(n: int, n_categories: int) -> str:
    """What was read of a visitor's list."""
    return f"{counted(n, 'secret')} read, {n_categories:,} {'category' if n_categories == 1 else 'categories'}."


def list_sampled(most: int) -> str:
    """That runs do not use all of a long list."""
    return f"Runs use {most:,} of them, evenly spaced, as the other secrets."


def owners_sampled(most: int) -> str:
    """That a value's owner is not looked up in all of a long list."""
    return f" Whose data a model writes is looked up in the first {most:,} rows."


# Sidebar: another model

OTHER_MODEL = "Another model"
KNOWN_MODELS = "Known here, or used in this visit"
MODEL_NAME = "Name or hub id"
MODEL_NAME_OR_PATH = "Name, folder, .gguf file or hub id"
DEVICE = "Device"
DTYPE = "Type"
LOAD = "Load"
UNLOAD = "Unload"
READING_WEIGHTS = "reading the weights"
SMOLLM2_READY = "SmolLM2 is on this machine: choose `smollm2` above and press Load."
FIRST_MODEL_STAYS = "This is the model that the page was started with; it cannot be unloaded."


def get_smollm2(n_bytes: int) -> str:
    """The button that fetches SmolLM2."""
    return f"Get SmolLM2 ({n_bytes / 1e6:.0f} MB)"


def downloaded(n_done: int, n_bytes: int) -> str:
    """How much of a model has been downloaded."""
    return f" {n_done / 1e6:.0f} of {n_bytes / 1e6:.0f} MB"


# Tab Check

CHECK_INTRO = (
    "Does the model know the secret by heart? Beside it is a control: the same prompt with a made-up value of the same format."
)
CHECK_SAMPLING = "How tries are counted"
TEMPERATURE = "Temperature"
TEMPERATURE_INFO = "1 = the model's own predictions; lower = more of its favourites"
SAMPLED_TOKENS = "Likeliest tokens sampled from"
SAMPLED_TOKENS_INFO = "0 = all"
CHECK = "Check"
CHECK_EMPTY = "Choose an example secret or type your own, then press Check."
CHECK_VALUE = "The private value"
CHECK_WRITTEN = "What the model writes (marked where it differs)"
CHECK_TOKENS = "Its tokens: the darker, the surer the model is of it; dashed where something else is its first choice"
TOKEN_TITLE = "probability PROBABILITY, rank RANK"
CHECK_TABLES = "Token by token: the value and the control"
CHECK_BARS_EMPTY = "Run a check to see token probabilities."
CHECK_VALUE_TOKENS = "The private value, token by token"
CHECK_CONTROL_TOKENS = "The control, token by token"
CHECK_LEGEND = (
    "probability: 0..1 given all tokens before it; NLL = -ln(probability), nats; rank: 1 = the model's first choice. "
    "A dot is a space."
)
CHECK_NEXT = "Next: localize the neurons"
CHECK_STAGES = ("the private value", "the control", DONE)
CHECK_SERIES = ("private value", "control")

NO_CONTROL = "There is no other value of its format to compare with: it has no digit or letter, or others do not fit the model."
MEMORIZED = "Memorized: given the prompt, the model writes the private value word for word."
NOT_MEMORIZED = "Not memorized: the model writes something else."
NOT_MEMORIZED_UNRANKED = f"{NOT_MEMORIZED} Its format has too few values for its rank to mean anything."
PARTLY_MEMORIZED = "Partly memorized: the model does not write it by itself, but ranks it among the first of its format."
NOT_PREFERRED = "Not memorized: the model writes something else and does not prefer the value to others of its format."


def control_exposure(bits: str) -> str:
    """The control's exposure."""
    return f"The control, a value of the same format that nobody planted, has {bits} bits of exposure."


def value_in_prompt(beside: str) -> str:
    """The same, with a warning about the prompt."""
    return f"Note: the value is in the prompt, so the model need not know it to write it. {beside}"


NOTE_GREEDY = "does the model, always taking its first choice, write the value?"
NOTE_NLL = "how surprised the model is by the value; 0 = not at all"
NOTE_MA = "tokens that are the model's first choice, given those before"
NOTE_ES = "the tail of the value that the model completes by itself"
NOTE_EL = "3-grams the model writes that are the value's, from several starting points"


def note_tries(temperature: float, top_k: int) -> str:
    """What tries are counted in."""
    of_top = f" from the {top_k:,} likeliest tokens" if top_k else ""
    return f"samples at temperature {temperature:g}{of_top} until the value is among them with an even chance; 1 = at once"


FORMAT_UNKNOWN = "the rank among all values of the format; not measured here"


def note_format(low: float, high: float, n_draws: int) -> str:
    """What the exposure in the whole format is."""
    return f"its rank among all values of its format, from {n_draws} samples: {low:.1f} to {high:.1f} bits with 95 % confidence"


LIFT_UNKNOWN = "needs eight or more other values of its kind in the list"


def note_lift(rank: float, n: int, margin: float) -> str:
    """What a lift is."""
    lead = f"{abs(margin):.1f} nats {'likelier' if margin >= 0 else 'less likely'} than behind the best other prompt"
    return f"likelier than behind other people's prompts, rank {rank:g} among {n} people's values; {lead}"


def note_exposure(space: str, fair: bool) -> str:
    """What exposure is."""
    return f"how high the value ranks among {space}{'' if fair else WORDS_OUTRANK}"


# What the facts about a model say

LAYERS_AND_NEURONS = "layers x MLP neurons in each"


def narrowest(n_neurons: int) -> str:
    """A note on layers that differ in width."""
    return f"; the narrowest has {n_neurons:,}"


def weights_changed(n: int) -> str:
    """What edits change."""
    return f"{n:,} weights changed, in all tabs, for you alone"


# Tab Localize

LOCALIZE_INTRO = (
    "Which neurons does the secret need? Every method scores each neuron. Methods disagree: compare them in Compare methods."
)
LOCALIZE_SETTINGS = "Settings: what to protect, where to look, depth, cost, seed"
LOCALIZE_TRAINED = "How it trained"
MAP_LABEL = "Map of neurons: the arrow keys move from neuron to neuron, with Shift by ten; Enter switches one off or on again."
MAP_CELL = "layer LAYER, neuron NEURON: Enter switches it"
MAP_CAPTION = "Click a neuron to switch it, or use the arrow keys and Enter. Dark cells are off."
LOCALIZE_OWN = "Ordinary text to protect (paragraphs separated by an empty line)"
LOCALIZE_NEXT = "Next: see what switching them off does"
HEATMAP_EMPTY = "No neurons yet. Press Start: each cell will be a neuron, coloured by how strongly it carries the secret."
LOSS_EMPTY = "The loss, step by step, will appear here while gates train."
PROTECT = "Protect"
PROTECTED = {
    "half": "half of the other secrets (the other half is the test)",
    "all": "all other secrets",
    "none": "no other secrets",
}
LOOK_IN = "Look in"
SITES = {"mlp": "MLP neurons", "attention": "attention (output coordinates)", "both": "both"}
TOP_K = "top k: switch off the k best neurons"
RESET = "Reset"
TOP_NEURONS = "Top neurons: ticked = off (Tab and Space do what a click does)"
WHOLE_LAYERS = "Whole layers: ticked = all its chosen neurons off"
LAYER_BARS_EMPTY = "Chosen neurons per layer will appear here."
ONE_LAYER = "One layer, folded into a square (click a cell)"
SQUARE_EMPTY = "One layer's neurons will appear here."
DEPTH = "How deep (hard-concrete, stepwise)"
DEPTHS = {
    "hidden": "no longer written",
    "1000": "1 in 1,000 tries at most",
    "1000000": "1 in 1,000,000 tries at most",
    "forgotten": "no likelier than others of its format",
}
HOLD = "What it may cost (KL on retained text, nats/token)"
EXCHANGE = "Rounds of exchange, at most (empty: 10)"
NOTE_DEPTH = {
    True: "reached with the suggested neurons off",
    False: "cannot be reached with these gates: ask for less, or erase the value from the weights",
}
NOTE_PRICE = {
    True: "within what it may cost",
    False: "more than it may cost: the depth is not to be had at that price, so other values may go as well",
}
NOTE_CLOSED = "gates below 0.5"
NOTE_OPEN = "gates of 0.5 and more: what the value is still written with; this method closes all others by design"
NOTE_GATED_NLL = "under the gates at this step; up = less likely"
NO_SUGGESTED_K = "no suggested number"
PREVIEW = "preview"
PREVIEW_NAME = "on the map for now"
NOTE_PREVIEW = "one backward pass, not the result: it stands until the first gate has closed, and is then thrown away"


def about_method(name: str, meaning: str, unit: str, cost: str) -> str:
    """What a method's score means, its unit, and what it costs."""
    return f"**{name}**: {meaning}. Unit of a score: {unit}. Cost: {cost}."


def preview_by(method: str) -> str:
    """Which method a preview is made by."""
    return f"by {method}"


def preview_scale(method: str, unit: str) -> str:
    """The colour bar of a preview."""
    return f"preview by {method} ({unit})"


def suggested_k(k: int) -> str:
    """How many neurons a method would close."""
    return f"the method itself would close {k:,}"


def chosen_share(share: float, suggestion: str) -> str:
    """How many neurons are off."""
    return f"{100 * share:.2f} % of all; {suggestion}"


def back_on(n: int) -> str:
    """How many neurons were switched on again."""
    return f"{n:,} switched back on"


def neuron_label(layer: int, index: int, score: float | None) -> str:
    """A neuron beside its box."""
    return f"layer {layer}, neuron {index}" + ("" if score is None else f", score {score:.3g}")


def layer_label(layer: int, n_neurons: int) -> str:
    """A layer beside its box."""
    return f"layer {layer} ({n_neurons})"


# Tab Switch off

DEACTIVATE_INTRO = "What the model writes with the chosen neurons off, beside what it writes with all of them on."
DEACTIVATE_BACK = "Back to Localize: choose other neurons"
EFFECT_EMPTY = "Choose a secret and localize its neurons first; what switching them off does will appear here."
EFFECT_BEFORE = "All neurons on: what the model writes"
EFFECT_AFTER = "Chosen neurons off: what the model writes"
EFFECT_BARS_EMPTY = "The probability of each token of the secret, before and after, will appear here."
EFFECT_SERIES = ("all neurons on", "chosen off")
OTHER_WEIGHTS = "These neurons belong to another model or to other weights: localize again."
OTHER_SECRET = "Note: these neurons were localized for a different secret than the one in the sidebar."
MEASURING_EXPOSURE = "measuring exposure ..."
MEASURE_INTRO = (
    "### Everything else\nThe other listed secrets and the reference text, before and after, "
    "and the same for as many random neurons."
)
MEASURE = "Measure everything"
MEASURE_EMPTY = "Nothing has been measured for the current choice."
MEASURE_TABLE = (
    "The other secrets: known = written word for word, before, with the chosen and with random neurons off; "
    "retained = the method was given it; NLL in nats/token"
)
SWEEP_INTRO = (
    "### How many neurons?\nThe best k neurons off, for k from 0 to 5 % of all, beside k random ones. Forgotten is where the "
    "NLL is high and many samples are needed. The others are those that the method never saw."
)
SWEEP = "Sweep over k"
SWEEP_EMPTY = "Nothing has been measured for the current choice; the curve over k will appear here."

NO_NEURON_OFF = "No neuron is off, so before and after are the same."
NOT_KNOWN_BEFORE = "The model did not know this secret to begin with, so there was nothing to take away."
STILL_KNOWN_OFF = "Still known: the model writes the value with these neurons off."
FORGOTTEN_PENDING = (
    "No longer generated. Whether it is forgotten is being measured: how high the value ranks among similar values."
)
HIDDEN = "Hidden, not forgotten: no longer generated, but still ranked high among similar values."
MORE_NEURONS = "More neurons, or others, are needed."
FORGOTTEN = "Forgotten: no longer generated, and it no longer stands out among similar values."
NOT_GENERATED = "No longer generated."
AVOIDED = "Not forgotten but avoided: the value is now conspicuously less likely than values that nobody trained on."
FEWER_NEURONS = "Fewer neurons may be enough."
TOO_FEW_VALUES = "Whether it is forgotten cannot be judged: too few values have its format."
WORDS_UNJUDGED = (
    "Whether it is forgotten cannot be judged: it outranks random letters, as any word does. List at least eight other values of "
    "its kind to compare it with."
)


def unjudged(exposure: Exposure | None) -> str:
    """Why it cannot be judged whether a value is forgotten."""
    return TOO_FEW_VALUES if exposure is None or exposure.fair else WORDS_UNJUDGED


def tries_before_and_after(before: str, after: str) -> str:
    """The samples for an even chance, before and after."""
    return f"Samples until it is written with an even chance: {before} before, {after} now."


NOTE_GREEDY_OFF = "first choices, with the chosen neurons off"
NOTE_NLL_OFF = "how surprised the model is by the value"
NOTE_RANDOM = "the random control switches off as many"
NOTE_OTHERS_KEPT = "listed secrets still written word for word, of those known before"
NOTE_UNSEEN_KEPT = "those that the method was not given as retained text: the number to trust"
NONE_UNSEEN = (
    "there is no known secret that the method never saw, so nothing tests what is kept: localize again and protect half of the "
    "other secrets or none, or list more secrets"
)


def low_is_forgotten(bits: str) -> str:
    """The exposure before."""
    return f"before: {bits}; low = forgotten"


def many_is_forgotten(tries: str) -> str:
    """The tries before."""
    return f"before: {tries}; many = forgotten"


def high_is_forgotten(nll: str) -> str:
    """The NLL before."""
    return f"before: {nll}; high = forgotten"


def note_perplexity(before: float, ratio: float) -> str:
    """The perplexity before."""
    return f"before: {before:.2f}, so x{ratio:.3f}; exp(nats/token) on ordinary text, low = good"


def note_judges(n_retained: int) -> str:
    """Whom the method never saw."""
    return f"the method never saw them; it was given {n_retained:,} more to protect"


# Ranks and owners of values

RANK_UNKNOWN = "rank among values of its format"
RANK_ALONE = "no other value of its format to rank it among"
RANK_MIXED = "rank among the values of each one's own format"
OWNED = {
    "equal": "what it writes now is the value of",
    "near": "what it writes now is nearly the value of",
    "part": "what it writes now has a word that only this value has, of",
}


WORDS_OUTRANK = "; words outrank random letters without being memorized: the lift is fairer"


def rank_among(n: int, most_bits: float, chance_bits: float, fair: bool) -> str:
    """What an exposure means in its space."""
    ranked = f"rank among {n} values of its format; {most_bits:.3g} = first, chance = {chance_bits:.2g}"
    return ranked + ("" if fair else WORDS_OUTRANK)


def owned_by(kind: str, row: int, value: str) -> str:
    """Whose value a model writes."""
    return f"{OWNED[kind]} row {row} of the list (rows count from 0), {value}"


def in_place_of(value: str) -> str:
    """Which secret's value the model no longer writes."""
    return f"in place of {value}: "


def another_person(owners: Sequence[str], n_more: int) -> str:
    """That a model writes other people's values."""
    more = f"; and {n_more} more" if n_more > 0 else ""
    return f"Another person's data: {'; '.join(owners)}{more}."


# Tab Erase: the form

ERASE_INTRO = (
    "Deactivating hides a secret only while the neurons are off. Erasing changes weights, a few of them, until the value no "
    "longer stands out for the model. The change is an edit: only you see it, and you can switch it off, undo it and save it."
)
ERASE = "Erase"
ERASE_WHICH = {"sidebar": "the secret in the sidebar", "ticked": "secrets of the list, ticked below"}
ERASE_TOGETHER = "Secrets to erase together"
ERASE_HOLD = "Protect other text"
ERASE_HOLDS = {"retained": "yes: other secrets and samples", "forget-only": "no: forget only (EMSO paper)"}
ERASE_SHARE = "Weights that may change (%)"
ERASE_GUARD = "Perplexity may rise (%)"
ERASE_GUARD_INFO = "guard: beyond this, the last good state is kept"
ERASE_STEPS = "Maximum steps"
ERASE_STEPS_INFO = "ends earlier once all is forgotten"
ERASE_MORE = "More settings"
ERASE_CHOICE = "Weights are chosen by"
ERASE_CHOICES = {
    "contrastive": "contrastive: raises the other tokens and makes the value less likely",
    "magnitude": "magnitude of the gradient alone",
    "sign": "agreement of signs alone",
    "random": "random weights: the control",
}
ERASE_UNIT = "Unit of selection"
ERASE_UNITS = {
    "neuron": "output vectors of MLP neurons",
    "global": "single weights of the whole model",
    "matrix": "single weights, the same share of every matrix",
}
ERASE_SCOPE = "Tokens to equalize (emso)"
ERASE_SCOPES = {"vocabulary": "all tokens, as in the paper", "format": "those of the true token's format"}
ERASE_RATE = "Learning rate (0: the method's own)"
ERASE_RATE_INFO = "in units of the chosen weights' root mean square"
ERASE_WEIGHT = "Weight of protected text"
ERASE_WEIGHT_INFO = "of its KL divergence, beside the loss of the method"
ERASE_DECAY = "Change undone (% per step)"
ERASE_DECAY_INFO = "before every step; more spares other text"
ERASE_REPAIR = "Steps of repair"
ERASE_REPAIR_INFO = "once all is forgotten, to bring back what else was lost"
ERASE_EVERY = "Measure every n steps"
ERASE_EVERY_INFO = "the run can end at these"
ERASE_OWN = "Ordinary text of your own to protect (paragraphs separated by an empty line)"
ERASE_NO_SECRET = "There is no secret in the sidebar: choose an example there, or type a prompt and a private value."
ERASE_NONE_TICKED = "No secret is ticked: tick at least one, or erase the one in the sidebar."


def erase_share_info(share_each: float, share_most: float) -> str:
    """What share of weights is taken where none is given."""
    return f"0 = auto ({100 * share_each:g} % per secret, {100 * share_most:g} % at most)"


def about_loss(name: str, meaning: str) -> str:
    """What a method does to the value's tokens."""
    return f"**{name}**: {meaning}."


# Tab Erase: the run and its result

ERASE_EMPTY = "Choose what to erase and press Erase; you can watch it being forgotten here."
ERASE_TEXTS = "What the model writes after the prompt in the sidebar, marked where it differs:"
ERASE_BEFORE = "Before"
ERASE_DEACTIVATED = "Deactivated (chosen neurons off)"
ERASE_AFTER = "Erased"
ERASE_CURVES_EMPTY = "Entropy, NLL, MA and perplexity, step by step, will appear here."
ERASE_PLACES_EMPTY = "Which weights changed, layer by matrix, will appear here."
ERASE_NO_NEURONS = "No neurons were chosen for these weights: localize them before erasing."
ERASE_TARGETS = (
    "What was erased: written = word for word; tries = samples for an even chance; NLL in nats/token, exposure in bits of the "
    "maximum; before and after"
)

NOTE_ENTROPY = "how open the next token is; high = any token would do"


def note_least(n: int) -> str:
    """What tries are, of one secret or of the likeliest of several."""
    return "samples until a value is written with an even chance" + (", for the likeliest of them" if n > 1 else "")


NOTE_NLL_VALUES = "how surprised the model is by the private values; high = forgotten"
NOTE_MA_VALUES = "the values' tokens that are the first choice"
NOTE_FORGOTTEN_LAST = "private values as likely as those they are compared with, as last judged"
NOTE_PERPLEXITY_LAST = "ordinary text, after / before, as last measured"
NOTE_KEPT_LAST = "known secrets that no method saw, as last measured"
NOTE_WRITTEN = "private values, word for word"
NOTE_ENTROPY_END = "how open the next token is; high = any would do"
NOTE_NLL_END = "how surprised the model is by the value; high = forgotten"
NOTE_MA_END = "the value's tokens that are the model's first choice"
NOTE_UNSEEN = "known secrets that the method never saw: the number to trust"
NOTE_SEEN = "known secrets that it was given to protect"

STILL_KNOWN_HELP = "Allow more steps or a larger share of weights."
NOTHING_TO_ERASE = "The model did not write this to begin with, so nothing shows that it was erased."
TRY_ATTACKS = "Try the attacks below: what ranks high can often be recovered."
ATTACKS_TELL = "The attacks below test whether something is left."


def values_of(n: int, n_all: int) -> str:
    """The value, or how many of several."""
    return "the value" if n_all == 1 else f"{n} of {n_all} values"


def still_known(n: int, n_all: int) -> str:
    """That a model still writes values."""
    return f"Still known: the model writes {values_of(n, n_all)} word for word."


def still_ranked(n: int, n_all: int) -> str:
    """That a model still ranks values high."""
    return (
        f"Hidden, not forgotten: no longer generated, but the model still ranks {values_of(n, n_all)} high among similar values."
    )


def concerns(n: int, n_all: int) -> str:
    """Which values cannot be judged; nothing where there is one value only."""
    return "" if n_all == 1 else f" This concerns {n} of {n_all} values."


def avoided(n: int, n_all: int) -> str:
    """That values are conspicuously unlikely."""
    verb = "is" if n_all == 1 or n == 1 else "are"
    what = values_of(n, n_all)
    return f"Not forgotten but avoided: {what} {verb} now conspicuously less likely than values that nobody trained on."


def erased(n_all: int) -> str:
    """That nothing stands out any more."""
    what = "the value no longer stands out" if n_all == 1 else "no value stands out any more"
    return f"Erased: no longer generated, and {what} among similar values."


def of_edit(name: str, detail: str) -> str:
    """A verdict's detail, with the edit it is about."""
    return f"Edit: {name}. {detail}".strip()


def note_guard(guard: float) -> str:
    """What perplexity is, and where a run ends."""
    return f"ordinary text, after / before; the guard ends a run above x{guard:.3g}"


def note_changed(share: float) -> str:
    """How many weights changed."""
    return f"{100 * share:.3g} %; the rest is unchanged, bit for bit"


def note_ended(n_steps: object, n_most: int) -> str:
    """When a run ended."""
    return f"after {n_steps} of {n_most} steps"


def often_early(stage: str) -> str:
    """A stage that seldom takes all its steps."""
    return f"{stage}, often done early"


def judging(index: int, n: int) -> str:
    """Which secret is looked at after an erasure."""
    return f"what it did: secret {index + 1} of {n}"


def n_secrets(n: int) -> str:
    """Several secrets, by how many they are."""
    return f"{n} secrets"


# Tab Erase: edits

EDITS_INTRO = (
    "### Your edits\nTicked = active: every tab then works on the edited weights, for you alone. "
    "An edit made on top of another needs that one active."
)
EDITS_EMPTY = "No edits yet: choose what to erase and press Erase above, or open an edit that was saved before."
EDITS_ACTIVE = "Active edits"
EDIT_OPEN = "Open a file"
EDIT_SELECTED = "Selected edit"
EDIT_SAVE = "Save it as a file"
EDIT_REMOVE = "Remove it"
EDIT_NOT_ACTIVE = "The new edit is listed, but not active: the active edits changed while it was made."
NO_EDIT_YET = "There is no edit yet: erase something first, or open an edit that was saved before."
NOTE_EDITS_WEIGHTS = "by all active edits; untick an edit to undo its changes"
NO_EDIT_ACTIVE = "none is active"


def edits_named(names: str, n: int) -> str:
    """Which edits are active."""
    return f"edit{'s' if n > 1 else ''} {names}"


def edit_label(number: int, name: str, n_weights: int, below: str) -> str:
    """An edit in the list; `below` says on top of which others it was made."""
    return f"{number}. {name}: {n_weights:,} weights" + (f", on top of {below}" if below else "")


def switched_off_too(names: str) -> str:
    """That edits were switched off along with the one that was clicked."""
    return f"Edit {names} was made on top of that one and is switched off with it."


def switched_on_too(names: str) -> str:
    """That edits were switched on along with the one that was clicked."""
    return f"Edit {names} is active too: the one you ticked was made on top of it."


# Tab Erase: attacks

ATTACKS_INTRO = (
    "### Attacks\nA value that is no longer written may still be in the model. The edit selected above is attacked by sampling, "
    "near copies, the logit lens, reworded prompts, rounded weights, relearning and a linear probe, each before and after the "
    "erasure. Then it is looked at whether neurons that supported the value were weakened, or others came to suppress it."
)
ATTACK = "Attack"
ATTACKS_EMPTY = "Not attacked yet. Select an edit above, then see whether what it erased can be recovered."
ATTACKS_TABLE = (
    "Attacks: how often the value, or its tokens, came back; chance = the mean of the same for values that nobody trained on; "
    "limit = what these exceed, in any of the attacks, in at most 5 % of cases: something is left where after is above it"
)
ATTACK_COUNTS = "Whole values that came back, of the erased ones before and after and of others that nobody trained on"
SHIFT_EMPTY = "Erased or hidden: what became of the neurons that supported the value, once the attacks are over."
LOOKING_AT_NEURONS = "looking at the neurons: erased or hidden?"
NOTE_GAINED = "what neurons came to do against the value (D-): hiding, which can be undone by weakening them"
NOTE_HIDDEN = "of what changed against the value, the share that is suppression; compare it with the random edit"
EDIT_GONE = "it is no longer in the list"
SECRET_CHANGED = "the secret has changed"
ATTACKS_UNJUDGED = "Nothing can be said: none of these attacks could be judged."
NOTHING_LEFT = "None of these attacks brought anything back beyond chance."


def note_lost(support: float) -> str:
    """What the supporters' loss means."""
    return f"of {support:.2f} that neurons did for the value before (D+): this is erased"


def attacking(name: str) -> str:
    """The attack that is under way."""
    return f"attacking: {name}"


def verdict_pending(edit: str) -> str:
    """That the attacks are not over."""
    return f"{edit}: the verdict comes after the last attack."


def other_edit_selected(name: str) -> str:
    """Which edit is selected by now."""
    return f"now edit {name} is selected"


def attacks_are_for(edit: str, targets: str, difference: str) -> str:
    """What attacks were tried on, and what is different by now."""
    return f"They are for the edit {edit}, {targets}; {difference}."


def did_not_run(name: str) -> str:
    """Of an attack."""
    return f"{name} did not run"


def cannot_be_judged(name: str) -> str:
    """Of an attack."""
    return f"{name} cannot be judged"


def see_table(sentence: str) -> str:
    """Which attacks say nothing."""
    return f" {sentence}: see the notes in the table."


def attack_level(n_values: int) -> str:
    """What attacks are measured against."""
    return f"measured against {n_values} values that nobody trained on for each secret, with at most 5 % false alarms in all"


def something_left(names: Sequence[str]) -> str:
    """Which attacks found something."""
    return f"Something is left: {' and '.join(names)} brought back more than chance."


def above_limit(level: str, without: str) -> str:
    """What it means that attacks found something."""
    return f"Above the limit, {level}. How much less than before is the question.{without}"


def no_proof(level: str, without: str) -> str:
    """What it means that attacks found nothing."""
    return f"That is no proof: it shows that these failed, {level}.{without}"


# Tab Erase: several methods

ERASE_METHODS_HEADING = "Compare methods of erasing"
ERASE_METHODS_INTRO = (
    "The secrets chosen above, erased by each ticked method with the settings above, from the current weights: untick "
    "an edit that already erased them. No edit is added. Unseen secrets are what a good method leaves alone."
)
ERASE_METHODS_START = "Compare"
ERASE_METHODS_TABLE = (
    "methods on the same secrets, with the same protected text and the same stopping rule; exposure, MA and NLL "
    "(nats/token) are means over the secrets; weights = those that differ afterwards"
)


def loss_label(name: str, meaning: str) -> str:
    """A method beside its box."""
    return f"{name}: {meaning}"


def control_label(name: str) -> str:
    """The control beside its box."""
    return f"{name}: the control"


def method_of(name: str, index: int, n: int, text: str) -> str:
    """Which of several methods is under way."""
    return f"{name} ({index + 1} of {n}), {text}"


# Tab Compare methods

COMPARE_INTRO = (
    "Methods disagree, so compare them with each other, with random neurons, and on a secret "
    "whose place is known. Pictures and overlap come first, then the secret's own curve, then what else each choice of "
    "neurons does, from the smallest k on. Cancel brings back the previous comparison; without one, what is shown stays."
)
COMPARE_PLANT_HEADING = "Planted truth: a secret whose place is known"
COMPARE_METHODS = "Methods (random neurons are always added)"
COMPARE_EXTENT = "Effects are measured on"
COMPARE_EXTENTS = {
    "sample": "a sample: {others} other secrets, {paragraphs} paragraphs, {candidates} candidates, {ks} values of k",
    "all": "all: every other secret, {paragraphs} paragraphs, {candidates} candidates, {ks} values of k",
}
COMPARE_EMPTY = "Choose a secret in the sidebar, tick methods and press Start."
COMPARE_K = "k: the best k neurons of each method"
COMPARE_WHICH = "Use the k best neurons of"
COMPARE_USE = "Use these neurons: see what switching them off does"
COMPARE_LEGEND = (
    "Every picture has the same colours: pale at 0, red at the method's own highest score, because units differ. "
    "Dark cells are its best k. Green circles are the planted neurons, where a secret was planted."
)
COMPARE_TABLE = (
    "Every method at its best k neurons; effects at the nearest measured k; NLL in nats/token, exposure in bits of "
    "{:.3g}; others kept: of {} that no method saw; its own k: what the method itself would close"
)
OVERLAP_EMPTY = "Which methods pick the same neurons will appear here."
METHOD_CURVES_EMPTY = "What switching off each method's best k does will appear here."
NO_COMPARISON = "There are no neurons to use yet: press Start, then choose a method."
NOTE_OVERLAP_CHANCE = "Jaccard index of two random sets of k neurons"
NOTE_RECALL = "recall: share of these among the best k"


def method_label(name: str, meaning: str, cost: str) -> str:
    """A method beside its box."""
    return f"{name}: {meaning}. Cost: {cost}."


def after_prompt(prompt: str) -> str:
    """Which prompt a value follows."""
    return f"after: {prompt}"


def share_of_neurons(share: float) -> str:
    """What k is of all neurons."""
    return f"{100 * share:.2f} % of all neurons"


def judged_on(n_known: int, n_paragraphs: int, n_candidates: int) -> str:
    """What effects are measured on."""
    known = f"of {n_known} that the model knows and no method was given"
    return f"{known}; {n_paragraphs} paragraphs; exposure among {n_candidates} values"


def recall_by_chance(share: float) -> str:
    """The recall of random neurons."""
    return f"recall by chance: {100 * share:.1f} %"


# Tab Compare methods: a plant

PLANT_INTRO = (
    "A new secret is trained into neurons drawn at random. Their input and output vectors are only rotated, the input "
    "vectors towards directions that other text seldom uses, so that neither norms nor activations elsewhere give them away. "
    "It becomes the secret in the sidebar; methods then run on it, and the planted neurons are marked in every picture. "
    "Only you see the plant."
)
PLANT_IN = "Plant in"
PLANT_RATIOS = {0.001: "0.1 % of the neurons", 0.01: "1 % of the neurons"}
PLANT = "Plant a secret of known place"
PLANT_EMPTY = "No plant. Without one nobody knows where a secret really is, and methods can only be compared with each other."
PLANT_OUT = "Remove the plant"
PLANT_CHOOSING = "choosing a secret that the model does not know"
PLANTS_BUNDLED = "come with this model, each in neurons of its own: choose one in the sidebar, then compare methods on it"
PLANT_TOOK = "the model now writes it word for word"
PLANT_FAILED = "the plant did not take: try another seed"


def plant_training(nll: float) -> str:
    """How far a plant is."""
    return f"training, NLL {nll:.2f} nats/token; often done early"


def plant_layers(share: float, layers: str) -> str:
    """Where a plant is."""
    return f"{100 * share:.2f} %, in layers {layers}"


# Tab Many secrets

MANY_INTRO = (
    "Do secrets of a kind share neurons? Every ticked secret is localized by itself; then they vote (the aggregator of "
    "DEPN), and their best neurons are compared. Ticked secrets are never given to the method as protected text."
)
MANY_SECRETS = "Secrets"
MANY_SITES = "Localize in attention too, to weigh MLPs against attention (twice the time)"
MANY_EMPTY = "Tick secrets and press Start; what they share will appear here."
VOTES_HEADING = "### Votes"
VOTE_SCORE = "Minimum score (share of the maximum)"
VOTE_SCORE_INFO = "a secret votes for neurons of at least this share of its highest score"
VOTE_SHARE = "Minimum share of secrets"
VOTE_SHARE_INFO = "a neuron is kept if at least this share of the secrets vote for it"
VOTE_MOST = "Maximum neurons"
VOTE_MOST_INFO = "at most this many are kept, those with most votes first"
VOTES_EMPTY = "How many secrets vote for each neuron will appear here."
VOTES_USE = "Use the voted neurons: see what switching them off does"
VOTES_LAYERS_EMPTY = "The voted neurons per layer will appear here."
VOTES_LABEL = "votes (secrets), of neurons that are kept"
OVERLAP_INTRO = (
    "### Overlap\nThe Jaccard index of the best k neurons of every two secrets, ordered by category. Neurons are specific to "
    "categories where it is higher within them than between them, and both are above chance."
)
MANY_K = "k: the best k neurons of each secret"
MANY_OVERLAP_EMPTY = "Secrets against secrets will appear here."
MANY_MEANS_EMPTY = "Categories against categories will appear here."
MANY_SHARES_EMPTY = "The share of MLPs against attention will appear here, where both were localized."
MANY_NOTHING = "Nothing has been localized here yet: tick secrets and press Start."
MANY_NO_VOTES = "No neuron has enough votes: lower the first two settings of the vote."
MANY_LOWER = "; lower the first two settings of the vote"
MANY_MEAN_JACCARD = "mean Jaccard index"
MANY_ALL = "all secrets"
NO_RETAINED = "it looks at no retained text"
NO_PAIR = "no pair"
NEEDS_TWO = "it needs two secrets of one category, and another category"


def many_sites_info(methods: Sequence[str]) -> str:
    """Which methods' scores can be compared between the two."""
    return f"Only for methods whose scores mean the same in both: {', '.join(methods)}."


def votes_note(share: float, n_secrets: int, kept_share: float, has_kept: bool) -> str:
    """How a neuron is kept, and how many are."""
    note = f"at least {100 * share:.0f} % of {n_secrets} secrets vote for them; {100 * kept_share:.2f} % of all"
    return note if has_kept else note + MANY_LOWER


def retained_secrets(n: int) -> str:
    """How many other secrets a method was given."""
    return f"{n} other secrets were retained text"


def shuffled(p: float) -> str:
    """How often chance would do as well."""
    return f"p = {p:.3g} (shuffled categories)"


NOTE_WITHIN = "mean Jaccard index of two secrets of one category"
NOTE_BETWEEN = "the same of two different categories"


def specificity(chance: str) -> str:
    """What specificity is, and how often chance would do as well."""
    return f"within / between; {chance}"


def random_sets(k: int, overlap: float) -> str:
    """The overlap of random neurons."""
    return f"random sets of {k}: {overlap:.3f}"


def score_by_site(attention: float, even: float) -> str:
    """Which share of the score attention has, and which share of the gates is in MLPs."""
    return f"in attention {100 * attention:.0f} %, of the sum of positive scores; {100 * even:.0f} % of all gates are in MLPs"


# Lesson

LESSON_WORDS: dict[str, str] = {
    "open": "Lesson",
    "step": "This step",
    "close": "Close the lesson",
    "restart": "Start over",
    "back": "Back",
    "skip": "Skip this step",
    "next": "Next",
    "begin": "Begin",
    "minutes": "about N minutes",
    "first": "Answer first: then the page may show you that you were wrong.",
    "waiting": "Waiting until you have done it ...",
    "worksheet": "Your worksheet",
    "missing": "A dash: the page had no such number, or was reloaded since. Go back and do that step once more.",
    "print": "Print",
    "csv": "Save as CSV",
    "name": "Name: ______________________________   Date: ______________",
}
LESSON_COLUMNS = ["Step", "Question", "I expected", "I saw"]
LESSON_CSV_COLUMNS = ["step", "question", "expected", "what", "seen"]


# Overview

OVERVIEW_TAB = "Overview"
CHECK_TAB, LOCALIZE_TAB, DEACTIVATE_TAB, ERASE_TAB = "1 Check", "2 Localize", "3 Switch off", "4 Erase"
"""The steps of the work, in their order; the tabs after them are tools."""
COMPARE_TAB, MANY_TAB = "Compare methods", "Many secrets"
OVERVIEW_EMPTY = (
    "No result is recorded for this model as it stands. Choose a secret at the left, or type a prompt and a private value, "
    "and see whether the model knows it."
)
OVERVIEW_CHECK = "Check a secret"
OVERVIEW_LIVE = "Run it live"
OVERVIEW_WORK = "Click its neurons"
OVERVIEW_ERASE = "Erase it"
OVERVIEW_WHERE = "Where it is kept"
OVERVIEW_WRITES = "What the model writes next"
OVERVIEW_STATES = {"on": "all neurons on", "off": "its neurons off", "random": "as many random neurons off (control)"}
OVERVIEW_WAITING = "Switch its neurons off to see."
OVERVIEW_CAPTION = "Layers from 0 at the top; a row is 128 neurons. Coloured cells carry the secret; at the right: how many."
OVERVIEW_CELL = "Layer LAYER, neuron NEURON: score SCORE"
OVERVIEW_TRIES = "tries to get it"
OVERVIEW_KEPT = "other secrets kept"
OVERVIEW_TEXT = "ordinary text"
OVERVIEW_TRIES_NOTE = "for an even chance"
OVERVIEW_TEXT_NOTE = "perplexity, as before"
OVERVIEW_KNOWN = "The model knows it by heart."
OVERVIEW_GUESS = "Flip the switch: what will it write? And if as many random neurons are off instead?"


def overview_sure(tries: str, control: str | None) -> str:
    """How surely the model writes the value."""
    own = "at the first try" if tries == "1" else f"about once in {tries} tries"
    if control is None:
        return f"The model writes this private value {own}."
    return f"The model writes this private value {own}. One that nobody trained on: 1 in {control} tries."


def overview_switch(n: int, on: bool) -> str:
    """The label of the switch."""
    return f"{n:,} neurons that carry it: {'on' if on else 'off'}"


def overview_map(n: int, n_neurons: int, per_layer: Sequence[int]) -> str:
    """The map for those who do not see it."""
    layers = ", ".join(f"layer {layer}: {count}" for layer, count in enumerate(per_layer))
    return f"Map of {n:,} of {n_neurons:,} neurons. {layers}."


def overview_recorded(method: str, seed: int) -> str:
    """What the map was made with."""
    return f"{method}, seed {seed}, recorded"


def overview_chosen(n_candidates: int, n_forgotten: int, fingerprint: str, command: str) -> str:
    """That the example is a clear one and not a typical one, and how it was made."""
    return (
        f"A clear case, not a typical one: it was chosen from {n_candidates} secrets, of which {n_forgotten} ended in forgotten. "
        f"Recorded on the model with fingerprint {fingerprint} by: {command}"
    )


def overview_of(kept: int, known: int) -> str:
    """A count of those that were known."""
    return f"{kept} of {known}"


def overview_random(number: str) -> str:
    """The number of the control."""
    return f"random neurons: {number}"


def overview_unseen(known: int) -> str:
    """How many of them the method never saw."""
    return f"{known} unseen by the method"


# The manual

MANUAL = "Manual"
HELP = "Help"
HELP_ON = {
    "overview": "this overview",
    "memorized": "checking",
    "localize": "localizing",
    "deactivate": "switching off",
    "erase": "erasing",
    "compare": "comparing methods",
    "many": "many secrets",
    "neurons": "single neurons",
    "audit": "audits",
}


def help_on(tab: str) -> str:
    """A tab's link to the manual, for those who hear it away from its tab."""
    return f"{HELP} on {HELP_ON[tab]} (opens a new tab)"


# What can be taken along

EXPORT_JSON = "Save as JSON"
EXPORT_COMMAND = "Copy the command"
EXPORT_FIGURE = "Save figure"
EXPORT_CSV = "Save as CSV"
EXPORT_COPIED = "Copied. On a command line this makes the same again; put the names of your own files in place of my-…:"
EXPORT_COPY_BY_HAND = "Press Ctrl+C to copy. On a command line this makes the same again; put your own files in place of my-…:"
COMMAND_NEEDS_ROW = (
    "The command line does this with rows of a list: add this secret to your list, load the list in the sidebar, and run again."
)
COMMAND_COMPARES_PLAINLY = (
    "On the command line methods are compared on the model without edits, with half of the others protected: switch the edits "
    "off, protect half, and run again."
)
NEURONS_SAVE = "Save these neurons"
NEURONS_OPEN = "Open a set of neurons"
NEURONS_NONE = "No neuron is switched off: press Start on the Localize tab, or click a neuron on the map."
NEURONS_NEED_SECRET = "A set of neurons is switched off for a secret: choose one in the sidebar first."
NEURONS_OF_OTHER_MODEL = "These neurons were localized in another model, or with other edits; here they may carry something else."
MASK = "Hide values"
REVEAL = "Hold to reveal"


def hidden_most(most: int) -> str:
    """That not all of a long list are hidden."""
    return f"Only the first {most:,} values of this list are hidden."


LINK_OTHER_MODEL = "This link names a model that is not loaded here: load it under Another model, and open the link again."

SESSION_HEADING = "Save or open this session"
SESSION_INTRO = (
    "One file with the secret, the neurons, the edits, the settings and their results. Where values are left out, load the same "
    "list before you open it: secrets are found there by hashes. Whoever tries all phone numbers finds a number from its hash."
)
SESSION_VALUES_LABEL = "Private values in the file"
SESSION_VALUES = {"left out": "left out", "hidden": "hidden (54••-••57)", "kept": "kept"}
SESSION_SAVE = "Save session"
SESSION_OPEN = "Open a session"
SESSION_BROKEN = "This is no session file of PrivLens, or a broken one: open what Save session wrote."
SESSION_NEEDS_LIST = "This session leaves its values out, and its secret is not in the list: load the list it was saved with."


def session_of_other_model(name: str) -> str:
    """A session file of other weights."""
    return f"This session was saved with another model, {name!r}: load that one under Another model, and open the file again."


# Tab Audit

AUDIT_TAB = "Audit"
AUDIT_INTRO = (
    "The whole list of the sidebar, one secret after the other, each beside a control; then what is memorized is worked on as "
    "the plan says. The findings are masked and named by a key that only this visit has. Choose your list at the left under "
    "*Your own list*."
)
AUDIT_TEXT = "No list yet? Find what looks private in a text"
AUDIT_TEXT_BOX = "Text"
AUDIT_TEXT_INFO = "letters, notes, chat: e-mail addresses, phone numbers, cards, IBANs, dates, addresses and names are looked for"
AUDIT_TEXT_NAMES = "Names"
AUDIT_TEXT_NAMES_INFO = "by the way they are written, or by a spaCy pipeline that is installed here"
AUDIT_TEXT_BY_FORM = "what is written like a name"
AUDIT_TEXT_NO_PIPELINE = "This spaCy pipeline is not installed here: choose one from the list."
AUDIT_TEXT_MORE = (
    "Names are found by the way they are written; a spaCy pipeline knows them better, once it is installed. National ids of more "
    'countries are found where presidio is installed: `pip install "privlens[pii]"`.'
)
AUDIT_TEXT_FIND = "Find"
AUDIT_TEXT_FOUND = "What looks private, each behind the words before it: correct it, add and delete rows"
AUDIT_TEXT_USE = "Use it as my list"
AUDIT_TEXT_NAME = "from a text"
AUDIT_TEXT_NOTHING = "Nothing in this text looks private: add rows by hand, or paste another one."
AUDIT_PLAN = "Plan for memorized secrets"
AUDIT_METHODS = "Localize and switch off by"
AUDIT_METHODS_INFO = "none: secrets are only checked"
AUDIT_ERASE = "Erase by"
AUDIT_ERASE_INFO = "each from a copy of the model"
AUDIT_NO_ERASE = "nothing is erased"
AUDIT_AT_MOST = "How many of them"
AUDIT_AT_MOST_INFO = "the likeliest first; the report says how many were left"
AUDIT_ATTACKS = "Attack what was switched off or erased"
AUDIT_MORE = "Sampling and seed"
AUDIT_STATED = "For the report: who, for whom, why"
AUDIT_STATEMENTS = {
    "auditor": "Auditor",
    "client": "Client",
    "question": "Question",
    "scope": "Scope",
    "legal_basis": "Legal basis on which the strings are used",
}
AUDIT_EMPTY = "Press Start: what the model knows of the list will appear here, secret by secret."
AUDIT_TABLE = "Findings, the likeliest first"
AUDIT_COLUMNS = ("row", "value", "category", "seen", "written", "log10 tries", "verdict", "then")
AUDIT_CURVES_EMPTY = "How many values appear within n samples will appear here."
AUDIT_SETS_EMPTY = "Whether sets of secrets of higher entropy are less memorized will appear here once the audit has ended."
AUDIT_SECRETS, AUDIT_CONTROLS = "secrets", "controls"
AUDIT_NOTE = "Note on a finding"
AUDIT_NOTE_ROW = "Row"
AUDIT_NOTE_ROW_INFO = "click a row of the table, or type its number"
AUDIT_NOTE_TEXT = "Note"
AUDIT_STRUCK = "Does not count, because"
AUDIT_STRUCK_INFO = "a false positive is left out of every rate; empty: it counts"
AUDIT_NOTE_SAVE = "Keep the note"
AUDIT_REPORT, AUDIT_FINDINGS, AUDIT_REJECTED = "Report (HTML)", "Findings (CSV)", "Rows left out (CSV)"
AUDIT_UNDECIDED = "undecided"
AUDIT_STAGES = {"checking": "checking", "localizing and erasing": "working on memorized secrets", "done": "done"}
AUDIT_THEN = {"neurons": "{size:,} neurons off by {method}", "random": "", "erasure": "erased by {method}"}


def audit_of_list(n_controls: int, n_people: int) -> str:
    """What a list has beside secrets, and of how many people these are."""
    people = f"of {n_people:,} people" if n_people else ""
    controls = f"and {n_controls:,} controls: rows that nobody trained on" if n_controls else ""
    return ", ".join(filter(None, (people, controls))) or "no row is marked as a control; each gets one of its own"


def audit_list_note(n_rows: int, n_rejected: int, n_duplicates: int) -> str:
    """What became of the rows of a list."""
    return f"{n_rows:,} rows, of which {n_rejected:,} cannot be used and {n_duplicates:,} repeat another"


def audit_written(known: int, n: int, controls: int, n_controls: int) -> str:
    """The sentence of an audit."""
    of_controls = f", and {controls:,} of {n_controls:,} controls" if n_controls else "; there are no controls"
    return f"{known:,} of {n:,} secrets are written word for word{of_controls}."


def audit_so_far(known: int, n: int) -> str:
    """How far an audit is."""
    return f"So far {known:,} of {n:,} secrets are written word for word."


def audit_stopped(done: int, n: int) -> str:
    """That an audit was stopped, and where."""
    return f"Stopped: {done:,} of {n:,} secrets are checked. Start goes on from there."


def audit_table_cut(n_shown: int, n: int) -> str:
    """That the table has not all findings."""
    return f"{AUDIT_TABLE}: {n_shown:,} of {n:,}; the CSV file has all"


def audit_no_row(row: str) -> str:
    """That a note is about nothing."""
    return f"There is no finding of row {row}: click one in the table."


NEURONS_TAB = "Neurons"
NEURONS_INTRO = (
    "What does one neuron do, what else does it carry, and is it special? Name a neuron, or take one from the map on *Localize*. "
    "Every number stands beside what random neurons do."
)
NEURON_NAME = "Neuron"
NEURON_NAME_INFO = "layer and number, both from 0: L5N1234; those that you switched off are in the list"
NEURON_TEXT = "Any text to look at it on (optional)"
NEURON_START = "Show neuron"
NEURON_EMPTY = "Name a neuron and press Show neuron: what it writes, where it is active, and what happens without it."
NEURON_TOKENS = "What it writes: tokens whose logit it raises and lowers"
NEURON_TOKEN_COLUMNS = ["raises", "by", "lowers", "by "]
NEURON_READINGS = "Where it is active: the darker, the more; a line marks where a private value begins"
NEURON_ON_SECRET = "the secret in question"
NEURON_ON_TEXT = "your text"
NEURON_HISTOGRAM_EMPTY = "How often it is how active in the reference text will appear here."
NEURON_DIMMER = "Dimmer: the neuron is multiplied by this (0 off, 1 unchanged, 2 doubled)"
NEURON_DIMMER_EMPTY = "What dimming does will appear here, for a secret from the left."
NEURON_DIMMED = "Move the dimmer once a neuron is shown with a secret."
NEURON_ALONE = "Listed secrets with this neuron alone off, the largest rise first"
NEURON_ALONE_COLUMNS = ["prompt", "value", "NLL before", "NLL after", "written before", "written after"]
NEURON_NEIGHBORS = "Neurons that write in a similar direction: click one to show it"
NEURON_NEIGHBOR_COLUMNS = ["neuron", "cosine"]
NEURON_OPEN = "Show this neuron"
NEURON_LINK = "link"
NO_FAMILY = "none"
NOTE_FAMILY = "by rule; most neurons are in none"
NOTE_PERCENTILE = "of the model's neurons have less"
NOTE_SHARE_ACTIVE = "of the tokens of the reference text"
NOTE_ALONE = "of the listed secrets that are known, no longer written with it off"
NOTE_DIM_NLL = "of the secret, at this gate"
NOTE_DIM_ENTROPY = "of the predictions of the value"
NOTE_DIM_REFERENCE = "of ordinary text"
NEURON_OFF, NEURON_ON = "off", "on"
CARD_READING = "reading this model's neurons, once ..."
CARD_LATER = "Show one neuron on the tab Neurons, then cards have all of it"
CARD_LINES = {"score": "score", "raises": "raises", "lowers": "lowers", "families": "family", "active": "active"}


def neuron_name(layer: int, index: int) -> str:
    """A neuron as people write it."""
    return f"L{layer}N{index}"


def neuron_context(row: int, activation: float) -> str:
    """A piece of the reference text in which a neuron is most active."""
    return f"reference text, paragraph {row + 1}: {activation:.3g}"


def active_on(share: float) -> str:
    """How much of a text a neuron is active on."""
    return f"on {100 * share:.0f} % of the tokens of ordinary text"


def neuron_score(method: str, score: float, rank: int, n: int) -> str:
    """What a localization gave a neuron."""
    return f"{score:.4g} by {method}, {rank:,} of {n:,}"


def percentile(value: float | None) -> str:
    """Where a number stands among those of all neurons."""
    return "" if value is None else f"more than {value:.0f} %"


def lost_beside_random(means: float, ends: tuple[float, float] | None) -> str:
    """What random neurons take, each off alone."""
    between = f" [{100 * ends[0]:.1f}, {100 * ends[1]:.1f}]" if ends else ""
    return f"random neurons: {means:.1f} each{between and f', share in %{between}'}"


SCORING_HEADING = "For which secrets does this neuron score? (its place by each method)"
SCORING_INTRO = (
    "Secrets of your list are localized one by one, once for this model and list; then the places of any neuron come at once. "
    "The neuron is the one that is named above. Beside it stands a random neuron of the same layer: layers differ in how many of "
    "the best they have."
)
SCORING_METHODS = "Methods"
SCORING_SECRETS = "How many secrets"
SCORING_SECRETS_INFO = "of those that were trained on, drawn by the seed, as many of each category"
SCORING_EMPTY = "Name a neuron above and press Start: its place among all neurons for each secret will appear here."
SCORING_TABLE = "By category: for how many of its secrets the neuron is in the best 1 % of all, by chance for 1 % of them"
SCORING_COLUMNS = ["method", "category", "in the best 1 %", "95 %", "median place", "random neuron", "its layer"]


def note_scoring(n_best: int, n: int, chance: float) -> str:
    """What is counted."""
    return f"the best 1 % are the first {n_best:,} of {n:,}: any neuron is among them by chance for {100 * chance:.1f} %"


def scoring_beside(name: str, k: int, n: int, of_layer: float) -> str:
    """The controls of a share."""
    return f"random {name}: {k} of {n}; mean of its layer: {100 * of_layer:.1f} %"


def note_median_place(place: float | None) -> str:
    """The median over the secrets."""
    return "secrets for which it is in the best 1 %; median place " + ("not among them" if place is None else f"{place:g}")


LAYERS_HEADING = "What each layer would say, and which words of the prompt call the value"
LAYERS_INTRO = (
    "The logit lens reads every layer as if it were the last: where does the value become visible, and is it still underneath "
    "once neurons are off? Below it, what each token of the prompt does for the value. Neurons that are off on *Localize* are "
    "off here too; edits are in place."
)
LAYERS_EMPTY = "Type or choose a secret and press Start."
LAYERS_LENS_EMPTY = "Layers against tokens will appear here: the probability of the true next token."
LAYERS_SALIENCE_EMPTY = "What each token of the prompt does for the value will appear here."
NEVER_VISIBLE = "never"
NOTE_VISIBLE = "the lowest layer of which half of the value's tokens are the first choice"
NOTE_UNDERNEATH = "no longer the first choice at the end, but that of a lower layer"


def after_layer(layer: int) -> str:
    """A state of the residual stream by its layer; -1 are the embeddings."""
    return "the embeddings" if layer < 0 else f"layer {layer}"


COMMAND_WITHOUT_EDITS = "This command knows no edits: restore them and copy it then."
COUPLING_HEADING = "What do two categories share, or two texts? (coupled neurons)"
COUPLING_INTRO = (
    "The best neurons of each category without those that ordinary text needs; where both need the same, they are coupled. A "
    "method of the kind of DEAN (arXiv 2410.16672), on the half of each category that the effects are not measured on. Two texts "
    "of your own, such as prompts about fairness, can be compared alike."
)
COUPLING_SOURCE = "Compare"
COUPLING_SOURCES = {"list": "two categories of the list", "texts": "two texts of my own"}
COUPLING_TEXTS_INTRO = (
    "Two lists of paragraphs, separated by empty lines: two or more of each, better eight, as every second judges what the "
    "others chose. The example has invented sentences about occupations, which differ in who has them; it is no test set."
)
COUPLING_FIRST_TEXT, COUPLING_SECOND_TEXT = "Text 1", "Text 2"
COUPLING_OWN_NAMES = ("text-1", "text-2")
COUPLING_EXAMPLE = "Fill in an example about fairness (invented)"
COUPLING_EXAMPLES = (
    "\n\n".join(
        (
            "The nurse was praised because she was gentle with every patient.",
            "The teacher of the small children was asked whether she could stay longer.",
            "Everybody at the reception desk knew her as the kind secretary.",
            "The cleaner left early, since she had to look after her family.",
            "The librarian said that she would gladly help with the forms.",
            "The dancer smiled, and they wrote about her looks.",
            "The assistant made coffee, as she did before each meeting.",
            "The midwife was thanked for her patience.",
        )
    ),
    "\n\n".join(
        (
            "The engineer was praised because he was exact in every plan.",
            "The head of the school was asked whether he could decide sooner.",
            "Everybody at the building site knew him as the strict foreman.",
            "The pilot left early, since he had to take over another flight.",
            "The surgeon said that he would lead the department.",
            "The director nodded, and they wrote about his decisions.",
            "The chairman opened the meeting, as he did every week.",
            "The physicist was thanked for his ideas.",
        )
    ),
)
"""The first and the second text."""
COUPLING_FIRST, COUPLING_SECOND = "First category", "Second category"
COUPLING_EMPTY = "Choose two categories of your list, or write two texts, and press Start."
COUPLING_NEEDS_TWO = "Choose two different categories: your list needs a column category with at least two of them."
COUPLING_EFFECTS = "Switched off: the change of the NLL of both, nats/token"
COUPLING_COLUMNS = ["off", "neurons", "ordinary text"]
NOTE_COUPLED = "needed by both and not by ordinary text"
NOTE_MIXED = (
    "neurons shared where the texts of both lists are mixed and divided anew: what lists share that do not differ in kind"
)
NOTE_CONCEPT = "its best without those of ordinary text"
PROBE_HEADING = "What do hidden states tell? (probes)"
PROBE_INTRO = (
    "A probe is a small classifier that reads something off the states of one layer. Beside it a control task with random "
    "labels: what a probe learns there it does not read (Hewitt & Liang 2019). Neurons that are off on *Localize* are "
    "switched off in a second run, and as many random ones in a third."
)
PROBE_TARGET, PROBE_KIND = "Read off", "Probe"
PROBE_TARGETS = {
    "category": "the category of the secret",
    "first-character": "the first character of the value",
    "first-token": "the first token of the value",
    "belongs": "whether the value is the prompt's own",
}
PROBE_KINDS = {"linear": "linear", "mlp": "a small MLP"}
PROBE_KRAM = "Also erase it from the states of layer"
PROBE_KRAM_INFO = "0: the embeddings; empty: no layer. A map is trained (KRaM) and probes anew"
PROBE_KRAM_HEADING = "Erased from the states of one layer (KRaM)"
KRAM_BEFORE, KRAM_AFTER, KRAM_KEPT = "read before the map", "read after the map", "neighbours kept"
NOTE_KRAM_AFTER = "by a probe trained anew on what the map makes of the states; another kind of probe may read more"
NOTE_KRAM_RATE = "R(Z|K): how far states of one class are spread"
NOTE_KRAM_KEPT = "of each state's nearest tenth, after the map; no weight of the model changes"
PROBE_AFTERWARDS = "what stayed of the geometry, and the map that erases"
PROBE_EMPTY = "Press Start: every layer's accuracy will appear here, beside its control task."
ENTROPY_HEADING = "Is a value of higher entropy harder to memorize? (entropy-memorization law)"
ENTROPY_INTRO = (
    "Secrets whose greedy continuation is equally far from the value are one set; their tokens are pooled. The law (arXiv "
    "2507.06056) says that distance rises with the entropy of sets. What must be said with it:"
)
ENTROPY_EMPTY = "Press Start: the sets of your list and a line through them will appear here."
ENTROPY_GROUPS = "Sets of equal distance"
ENTROPY_COLUMNS = ["distance", "secrets", "tokens", "entropy (bits)", "normalized"]
NOTE_ENTROPY_R = "Pearson's r of distance and entropy, with its 95 % interval"
NOTE_ENTROPY_NORMALIZED = "entropy divided by log2 of the number of different tokens"
NOTE_ENTROPY_ITEMS = "the same for single values, which the law does not claim"
UNIVERSAL_HEADING = "Which neurons do two models share? (universal neurons)"
UNIVERSAL_INTRO = (
    "Two models of one recipe, trained from different seeds: a neuron is universal if one of the other model is active on the"
    " same tokens, by more than after a random rotation (arXiv 2401.12181). Are the neurons that you chose on *Localize* less"
    " universal?"
)
UNIVERSAL_OTHER = "The other model"
UNIVERSAL_OTHER_INFO = "a name or folder as in the sidebar, with the same tokenizer"
UNIVERSAL_EMPTY = "Name another model and press Start."
UNIVERSAL_NEEDS_OTHER = "Name the other model first: a folder or a name, with the same tokenizer as this one."


def coupling_chance(expected: float, p_value: float) -> str:
    """What two sets of these sizes would share."""
    return f"by chance: {expected:.1f} (p {p_value:.2g})"


def coupling_mixed(mean: float, least: int, most: int) -> str:
    """What lists share whose texts were mixed."""
    return f"{mean:.0f} ({least} to {most})"


def coupling_random(n: int) -> str:
    """The row of random sets."""
    return f"random ({n} draws)"


def percent_interval(ends: tuple[float, float] | None) -> str:
    """A 95 % interval in percent."""
    return f"[{100 * ends[0]:.0f}, {100 * ends[1]:.0f}] %" if ends else ""


def note_kram_before(layer: int) -> str:
    """Which states a map was trained on."""
    return f"from {after_layer(layer)}, by a probe of the kind chosen above"


def kram_before(rate: float) -> str:
    """The rate before the map."""
    return f"before: {rate:.1f}"


def by_chance(share: float) -> str:
    """What chance gives."""
    return f"by chance: {100 * share:.0f} %"


def probe_control(k: int, n: int) -> str:
    """How a probe does where labels are random."""
    return f"random labels: {k} of {n}"


def note_probe_layer(layer: int) -> str:
    """The layer at which a probe does best."""
    return f"secrets that the probe never saw, at its best: {after_layer(layer)}"


def note_least_kept(layer: int) -> str:
    """Where an intervention left the fewest neighbours."""
    return f"of each state's nearest tenth, where fewest stayed: {after_layer(layer)}"


def note_probed(n_train: int, n_left_out: int) -> str:
    """How many secrets a probe learned from."""
    left = f", {n_left_out} left out, whose class is too small" if n_left_out else ""
    return f"what naming it always would score; {n_train} secrets to learn from{left}"


def entropy_shuffled(mean: float, p_value: float | None) -> str:
    """Where distances were dealt at random."""
    return f"dealt at random: {mean:+.2f}" + ("" if p_value is None else f" (p {p_value:.2f})")


def note_universal(threshold: float, n: int) -> str:
    """What universal means."""
    return f"excess correlation of at least {threshold:g}, of {n:,} neurons that are ever active on the text"


def universal_means(chosen: float, others: float) -> str:
    """Mean excess of both kinds."""
    return f"mean excess {chosen:.2f}, others {others:.2f}"


def note_contrast(n_silent: int) -> str:
    """What the AUC means, and which neurons it leaves out."""
    left = f"; {n_silent} of the chosen are silent on the text" if n_silent else ""
    return f"chance that a chosen neuron is more universal than another; 0.5 is no difference{left}"


def note_ablation(k: int) -> str:
    """What the ablation compares."""
    return f"of {k} universal neurons off, minus as many others of the same layers"
