"""The 14 steps, told. An equation is a line of matrices' names (see values.py); whatever else stands in it is shown."""

from dataclasses import replace

from soradit.byhand.exercise import LEARNING_RATE, PROMPT, T, Worked
from soradit.byhand.steps import Matrix, Picture, Role, Step, Term, Words
from soradit.byhand.values import matrices

LESSON = (
    Words(
        title="Given: a video, a prompt, a diffusion step",
        sentence=f'Two frames of 2 x 4 grey pixels (0 dark, 9 bright), the prompt "{PROMPT}", and t = {T}.',
        by_hand="Look: a bright spot moves from left to right.",
        simpler="Pixels are small integers of one channel; the product's are red, green and blue in [-1, 1].",
        code=("media/video.py read_video",),
        equations=("frame_1 frame_2 shown:frame_1 shown:frame_2",),
        facts=(("prompt", PROMPT), ("t", T)),
    ),
    Words(
        title="Video to spacetime patches",
        sentence="Cut every frame into patches of 2 x 2 x 1 pixels; each patch becomes a column of 4 numbers.",
        by_hand="A column reads its patch: top left, top right, bottom left, bottom right. Two patches a frame.",
        simpler="Nothing.",
        code=("media/patches.py patchify",),
        equations=("frame_1 frame_2 → patches",),
        asked="patches",
    ),
    Words(
        title="Visual encoder: patches to latents",
        sentence="Weights times patches plus bias, then ReLU: 4 numbers a patch shrink to 2.",
        by_hand="Row times column: multiply in pairs and add up; add the row's bias; ReLU makes negatives 0.",
        simpler="One layer; the product's encoder goes on with more, and normalises the latents.",
        code=("model/autoencoder.py LinearReLU", "model/autoencoder.py Encoder"),
        equations=("encoder.project.weight · patches + encoder.project.bias = encoded ReLU latents",),
        asked="latents",
    ),
    Words(
        title="Add noise according to t",
        sentence=f"The larger t, the smaller the noise: at t = {T}, the latents get 4 - {T} = 1 times the drawn noise.",
        by_hand="Add cell to cell.",
        simpler="The schedule: the latents stay whole, the noise shrinks with 4 - t (exercise.py, OnPaper).",
        code=("diffusion/process.py Process.add_noise",),
        equations=("latents + noise = noised",),
        asked="noised",
    ),
    Words(
        title="Encode the conditions",
        sentence=f'Text embedding of "{PROMPT}" and timestep encoding of t = {T}, concatenated.',
        by_hand=f"{T} in binary is 1 1. Write the two below one another.",
        simpler="The embedding is given, not a CLIP's; t is in binary, not sines and cosines; no layers before the two "
        "are concatenated, no SiLU after; the product puts t first.",
        code=(
            "model/conditioning.py concatenate_conditions",
            "model/conditioning.py Conditioning",
            "model/conditioning.py timestep_embedding",
            "model/text.py TextEncoder",
        ),
        equations=("text and timestep → condition",),
        asked="timestep",
    ),
    Words(
        title="Estimate scale and shift",
        sentence="From the conditions, by weights and bias: two scales (top), two shifts (bottom).",
        by_hand="As in step 3, without the ReLU. A 0 in the conditions silences its column of weights.",
        simpler="No gates.",
        code=("model/conditioning.py Modulation",),
        equations=("modulation.estimate.weight · condition + modulation.estimate.bias = modulation",),
        asked="modulation",
    ),
    Words(
        title="Adaptive layer norm: scale and shift",
        sentence="Each row of the noised latents times its scale, plus its shift: the conditioned noised latents.",
        by_hand="First row: times 2, minus 1. Second row: times -1, plus 5.",
        simpler="No normalisation before it; the product's AdaptiveLayerNorm calls the same function after one.",
        code=("model/dit.py modulate", "model/dit.py AdaptiveLayerNorm"),
        equations=("scale × noised + shift = conditioned",),
        asked="conditioned",
    ),
    Words(
        title="Self-attention: query-key function",
        sentence="Every patch gets a query (top) and a key; query times key scores how much one looks at another; "
        "softmax turns each column of scores into shares of 1.",
        by_hand="Column j of the scores: query j times each key. Softmax: e to each score, over their sum. e^32 is a "
        "hundred million million, so in each column the largest score takes all, and equal largest ones share equally.",
        simpler="Queries and keys are one number; no value projection, normalisation, positions, heads or text tokens. "
        "Scores are read back from the shares (exercise.py, attention_scores): the product's kernel keeps no scores.",
        code=("model/dit.py attend", "model/dit.py Attention"),
        equations=("to_qk.weight · conditioned = query_key", "keys × queries: scores softmax attention"),
        asked="attention",
    ),
    Words(
        title="Attention pooling",
        sentence="Conditioned latents times attention matrix: each patch becomes a mix of those that it looks at.",
        by_hand="Column j: mix the four columns by the shares in column j. Patches 1 and 4 take patch 3; patch 2 the "
        "mean of all; patch 3 the mean of 1 and 4.",
        simpler="The latents themselves are the values; no output projection, no gate, nothing added to the input.",
        code=("model/dit.py attend", "model/dit.py Attention"),
        equations=("conditioned · attention = features",),
        asked="features",
    ),
    Words(
        title="Pointwise feed-forward: predict the noise",
        sentence="Two layers of weights and bias, the same at every patch, say what the noise was.",
        by_hand="As in step 3, twice. Between them GELU, which far from 0 is ReLU: 6 stays 6, -6 becomes 0.",
        simpler="As wide in the middle as at the ends; no norm, gate and output layer after it.",
        code=("model/dit.py FeedForward",),
        equations=(
            "feed_forward.0.weight · features + feed_forward.0.bias = hidden GELU activated",
            "feed_forward.2.weight · activated + feed_forward.2.bias = predicted",
        ),
        asked="predicted",
    ),
    Words(
        title="Train: loss, gradients, one update",
        sentence="Mean squared error between predicted and sampled noise; its gradients update all that is learnable. "
        "Encoder and decoder stay frozen.",
        by_hand="Loss: the squares of the 8 errors, added, over 8. ∂ means gradient of the loss. ∂ hidden: transposed "
        "weights 2 times ∂ predicted, and 0 where GELU gave 0. ∂ features: transposed weights 1 times ∂ hidden. "
        "The next two go through the softmax: take them as they are. A weight's gradient is its row of ∂ times its row "
        "of inputs, added up over patches; a bias's is its row of ∂, added up. AdamW's first step moves a parameter by "
        f"{LEARNING_RATE} against the sign of its gradient; where that is 0, not at all: so for weights of the "
        "condition that is 0; and of keys, since only patch 2's scores have a gradient, and its query is 0.",
        simpler=f"One example, learning rate {LEARNING_RATE}, no weight decay, warm-up, clipping of gradients and "
        "average of the weights.",
        code=(
            "diffusion/process.py Process.loss",
            "diffusion/process.py Process.error",
            "training/optimizer.py adamw",
            "training/state.py TrainState.apply_gradients",
        ),
        equations=(
            "predicted - target = error mean of squares loss",
            "2/8 × error = gradient.predicted",
            "gradient.hidden gradient.features",
            "gradient.query_key gradient.conditioned",
            *(
                f"gradient.{layer}.weight gradient.{layer}.bias → updated.{layer}.weight updated.{layer}.bias"
                for layer in ("feed_forward.2", "feed_forward.0")
            ),
            "gradient.to_qk.weight → updated.to_qk.weight",
            "gradient.modulation.estimate.weight gradient.modulation.estimate.bias → "
            "updated.modulation.estimate.weight updated.modulation.estimate.bias",
            "predicted_after loss_after",
        ),
        asked="gradient.predicted",
    ),
    Words(
        title="Generate: subtract the predicted noise",
        sentence="Noised latents minus predicted noise: noise-free latents.",
        by_hand="Subtract cell from cell.",
        simpler=f"One step from t = {T} to 4; the product takes many, from pure noise, with guidance.",
        code=("diffusion/sampler.py sample", "diffusion/sampler.py ddim"),
        equations=("noised - predicted = denoised",),
        asked="denoised",
    ),
    Words(
        title="Visual decoder: latents to pixels",
        sentence="Weights times latents plus bias, then ReLU: 2 numbers a patch grow to 4 pixels.",
        by_hand="As in step 3.",
        simpler="One layer; the product's decoder goes on with more, and clamps instead of the last ReLU.",
        code=("model/autoencoder.py LinearReLU", "model/autoencoder.py Decoder"),
        equations=("decoder.project.weight · denoised + decoder.project.bias = decoded ReLU generated_patches",),
        asked="generated_patches",
    ),
    Words(
        title="Patches to video",
        sentence="Put every patch back where step 2 took it from: a video again.",
        by_hand="Columns 1 and 2 are frame 1, columns 3 and 4 frame 2. Compare with step 1: frame 2 is exact, frame 1 "
        "nearly: the noise of patches 3 and 4 was predicted without an error, that of 1 and 2 was not.",
        simpler="Nothing.",
        code=("media/patches.py unpatchify", "media/writing.py write_video"),
        equations=(
            "generated_patches → generated_1 generated_2",
            "shown:generated_1 shown:generated_2 instead of shown:frame_1 shown:frame_2",
        ),
        asked="generated_1",
    ),
)


def tell(worked: Worked) -> list[Step]:
    """All 14 steps with their matrices. A result is a result where it first appears, and is carried on from there."""
    known = matrices(worked)
    steps = []
    for number, words in enumerate(LESSON, 1):
        equations = []
        for equation in words.equations:
            equations.append(_terms(equation, known))
            known |= {name: replace(known[name], role=Role.CARRIED) for name in equation.split() if name in known}
        steps.append(Step(number=number, words=words, equations=tuple(equations)))
    return steps


def _terms(equation: str, known: dict[str, Matrix]) -> tuple[Term, ...]:
    terms: list[Term] = []
    for word in equation.split():
        if word in known:
            terms.append(known[word])
        elif word.startswith("shown:"):
            frame = known[word.removeprefix("shown:")]
            terms.append(Picture(label=frame.label, pixels=frame.rows, given=frame.role is Role.GIVEN))
        elif terms and isinstance(terms[-1], str):
            terms[-1] += f" {word}"
        else:
            terms.append(word)
    return tuple(terms)
