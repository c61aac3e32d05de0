"""What a careful person would call right: other formulas, numpy, float64, lists, two for every task."""

import math
import re
from decimal import ROUND_HALF_UP, Decimal, localcontext
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from compresslab.coding import huffman
from compresslab.exercises.checking import check
from compresslab.exercises.tasks import TASKS
from compresslab.searching.greedy import Knob, greedy_path
from compresslab.surgery.dead import drop_dead


def macs_by_shape(conv, side):
    kernel = conv.kernel_size[0]
    starts = range(0, side + 2 * conv.padding[0] - kernel + 1, conv.stride[0])
    return len(starts) ** 2 * conv.out_channels * conv.in_channels // conv.groups * kernel**2


def macs_by_running(conv, side):
    places = conv(torch.zeros(1, conv.in_channels, side, side)).shape[2:].numel()
    return torch.tensor(float(places * conv.weight.numel()))


def rows_half_up(rows, bits):
    top = 2 ** (bits - 1) - 1
    scale = rows.double().abs().amax(1, keepdim=True) / top
    scale[scale == 0] = 1
    return torch.floor(rows / scale + 0.5) * scale


def rows_as_lists(rows, bits):
    top, decoded = 2 ** (bits - 1) - 1, []
    for row in rows.tolist():
        scale = max(map(abs, row)) / top or 1
        decoded.append([round(weight / scale) * scale for weight in row])
    return decoded


def end_in_float64(rows, bits):
    top, decoded = 2 ** (bits - 1) - 1, []
    for row in rows.double():
        scales = [k / 64 * row.abs().max() / top for k in range(64, 0, -1)]
        tried = [(row / scale).round().clamp(-top, top) * scale for scale in scales]
        decoded.append(min(tried, key=lambda one: float((one - row).square().sum())))
    return torch.stack(decoded)


def end_in_numpy(rows, bits):
    rows, top = rows.numpy(), 2 ** (bits - 1) - 1
    scales = np.arange(64, 0, -1)[:, None, None] / 64 * np.abs(rows).max(1, keepdims=True) / top
    tried = scales * np.clip(np.floor(rows / scales + 0.5), -top, top)
    best = np.square(tried - rows).sum(2).argmin(0)
    return np.take_along_axis(tried, best[None, :, None], 0)[0]


def trits_by_text(codes):
    return [int("".join(map(str, codes[start : start + 5][::-1])), 3) for start in range(0, len(codes), 5)]


def trits_in_numpy(codes):
    return np.array(codes).reshape(-1, 5) @ 3 ** np.arange(5)


def half_steps_one_by_one(weights, count):
    top = max(abs(weight) for weight in weights.tolist())
    levels = [0.0] + [sign * top * 2 ** (-k / 2) for k in range(count) for sign in (1, -1)]
    return [min(levels, key=lambda level: abs(level - weight)) for weight in weights.tolist()]


def half_steps_in_float64(weights, count):
    weights = weights.double()
    levels = weights.abs().max() * 2.0 ** (-torch.arange(count) / 2)
    levels = torch.cat([levels.flip(0).neg().flip(0), levels, torch.zeros(1)])
    return levels[(weights[:, None] - levels).square().argmin(1)]


def levels_in_float32(values, k):
    return TASKS["06-3"].right(values, k).float()


def levels_by_all_cuts(values, k):
    ordered = np.sort(values.numpy())
    places = range(len(ordered) + 1)
    error = np.array([[ordered[i:j].var() * (j - i) if j > i else 0 for j in places] for i in places[:-1]])
    best, cuts = error[0], [[0] * (len(ordered) + 1)]
    for _ in range(k - 1):
        tried = best[:-1, None] + error
        cuts.append([int(i) for i in tried.argmin(0)])
        best = tried.min(0)
    levels, end = [], len(ordered)
    for begins in cuts[::-1]:
        levels, end = [ordered[begins[end] : end].mean(), *levels], begins[end]
    return levels


class SignThrough(torch.autograd.Function):
    @staticmethod
    def forward(context, weights):
        context.save_for_backward(weights)
        return torch.where(weights >= 0, 1.0, -1.0)

    @staticmethod
    def backward(context, upstream):
        (weights,) = context.saved_tensors
        return upstream * (weights.abs() <= 1)


def sign_by_product(weights):
    passed = weights * (weights.abs() <= 1)
    return (weights >= 0).float() * 2 - 1 + passed - passed.detach()


def rescaled_by_fraction(total, numerator, shift):
    exact = Fraction(total * numerator, 2**shift)
    nearest = (abs(exact) + Fraction(1, 2)).__floor__()
    return nearest if exact > 0 else -nearest


def rescaled_by_doubling(total, numerator, shift):
    sign = -1 if total * numerator < 0 else 1
    return sign * ((2 * abs(total * numerator) + (1 << shift)) >> (shift + 1))


def masks_as_list(tensors, share):
    joined = np.concatenate([tensor.abs().numpy().ravel() for tensor in tensors])
    goes = np.zeros(len(joined), dtype=bool)
    goes[np.argsort(joined, kind="stable")[: round(share * len(joined))]] = True
    parts = np.split(goes, np.cumsum([tensor.numel() for tensor in tensors])[:-1])
    return [torch.from_numpy(part).reshape(tensor.shape) for part, tensor in zip(parts, tensors, strict=True)]


def masks_as_integers(tensors, share):
    flat = [weight for tensor in tensors for weight in tensor.flatten().tolist()]
    ranked = sorted((abs(weight), place) for place, weight in enumerate(flat))
    goes = {n for _, n in ranked[: round(share * len(ranked))]}
    return [int(n in goes) for n in range(len(ranked))]


def means_with_hook(model, relu, images):
    sums, places = 0, 0

    def collect(module, inputs, output):
        nonlocal sums, places
        rows = output.detach().transpose(0, 1).flatten(1)
        sums, places = sums + rows.sum(1), places + rows.shape[1]

    handle = getattr(model, relu).register_forward_hook(collect)
    try:
        for batch in images.split(64):
            model(batch)
    finally:
        handle.remove()
    return sums / places


def means_layer_by_layer(model, relu, images):
    x = model.relu1(model.conv1(images))
    if relu == "relu1":
        return x.mean((0, 2, 3)).tolist()
    seen = {}
    watched = nn.Module.__call__
    module = model.get_submodule(relu)
    module.forward = lambda inputs: seen.setdefault("answer", torch.relu(inputs))
    watched(model, images)
    del module.forward
    answer = seen["answer"]
    return answer.mean([axis for axis in range(answer.ndim) if axis != 1])


def roots_by_pointers(count, ties):
    parent = list(range(count))

    def root(i):
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for left, right in ties:
        low, high = sorted((root(left), root(right)))
        parent[high] = low
    return [root(i) for i in range(count)]


def roots_by_walking(count, ties):
    near = [[] for _ in range(count)]
    for left, right in ties:
        near[left].append(right)
        near[right].append(left)
    first = np.full(count, -1)
    for start in range(count):
        waiting = [start]
        while waiting:
            here = waiting.pop()
            if first[here] < 0:
                first[here] = start
                waiting += near[here]
    return first


def cost_one_by_one(places, weight, a, b):
    return [0.5 * (x - weight) ** 2 + a * abs(x) + 0.5 * b * x * x for x in places.tolist()]


def cost_expanded(places, weight, a, b):
    x = places.double().numpy()
    return (1 + b) * x**2 / 2 + a * np.abs(x) - weight * x + weight**2 / 2


def slope_by_autograd(places, weight, a, b):
    x = places.double().requires_grad_()
    cost = (x - weight).square() / 2 + a * x.abs() + b * x.square() / 2
    return torch.autograd.grad(cost.sum(), x)[0]


def slope_by_sides(places, weight, a, b):
    return [(1 + b) * x - weight + (a if x > 0 else -a) for x in places.tolist()]


def elastic_by_sides(weights, a, b):
    lowest = []
    for weight in weights.tolist():
        right, left = (weight - a) / (1 + b), (weight + a) / (1 + b)
        lowest.append(right if right > 0 else left if left < 0 else 0)
    return lowest


def elastic_by_search(weights, a, b):
    places = torch.linspace(-3, 3, 120_001, dtype=torch.float64)
    costs = [(places - w) ** 2 / 2 + a * places.abs() + b * places**2 / 2 for w in weights.double()]
    return np.array([float(places[cost.argmin()]) for cost in costs])


def groups_in_numpy(rows, of):
    wide = np.zeros((len(rows), math.ceil(rows.shape[1] / of) * of))
    wide[:, : rows.shape[1]] = rows
    return wide.reshape(len(rows), -1, of)


def groups_as_lists(rows, of):
    filled = [row + [0.0] * (-len(row) % of) for row in rows.tolist()]
    return [[row[start : start + of] for start in range(0, len(row), of)] for row in filled]


def mask_as_lists(groups, keep):
    def marks(group):
        order = sorted(range(len(group)), key=lambda place: (abs(group[place]), place))
        return [place in order[-keep:] for place in range(len(group))]

    return [[marks(group) for group in row] for row in groups.tolist()]


def mask_by_topk(groups, keep):
    """The largest first, and of equals the later: so turn the groups around."""
    turned = groups.flip(-1).abs()
    stays = turned.argsort(dim=-1, descending=True, stable=True)[..., :keep]
    return torch.zeros_like(groups).scatter(-1, stays, 1.0).flip(-1)


def kept_one_by_one(rows, keep, of):
    result = rows.double().numpy().copy()
    for row in result:
        for start in range(0, len(row), of):
            group = row[start : start + of]
            group[np.argsort(np.abs(group), kind="stable")[: max(0, len(group) - keep)]] = 0
    return result


def kept_as_lists(rows, keep, of):
    filled = groups_as_lists(rows, of)
    marks = mask_as_lists(torch.tensor(filled), keep)
    joined = (np.array(filled) * np.array(marks)).reshape(len(rows), -1)
    return joined[:, : rows.shape[1]].tolist()


def seen_by_replacing(model, place, images, labels):
    """Without a hook: what comes after the place is computed from a leaf."""
    layers = ["conv1", "relu1", "pool1", "conv2", "relu2", "pool2", "flatten", "fc1", "relu3", "fc2"]
    names = [name for name, _ in model.named_children()]
    assert set(names) <= set(layers) | {"pool"}, names
    x = images
    for name in names[: names.index(place) + 1]:
        x = getattr(model, name)(x)
    leaf = x.detach().requires_grad_()
    y = leaf
    for name in names[names.index(place) + 1 :]:
        y = getattr(model, name)(y)
    functional.cross_entropy(y, labels, reduction="sum").backward()
    return [leaf.detach(), leaf.grad]


def seen_with_retained_slopes(model, place, images, labels):
    seen = {}

    def look(module, inputs, output):
        output.retain_grad()
        seen["values"] = output

    handle = getattr(model, place).register_forward_hook(look)
    try:
        answers = model(images)
    finally:
        handle.remove()
    (len(labels) * functional.cross_entropy(answers, labels)).backward()
    return seen["values"], seen["values"].grad


def scored_by_einsum(values, slopes):
    flat = [x.reshape(*x.shape[:2], -1).double() for x in (values, slopes)]
    return torch.einsum("ncp,ncp->nc", *flat).abs().mean(0).tolist()


def scored_in_numpy(values, slopes):
    product = values.numpy() * slopes.numpy()
    return np.abs(product.reshape(len(product), product.shape[1], -1).sum(-1)).sum(0) / len(product)


def taylor_image_by_image(model, place, images, labels):
    scores = [
        scored_in_numpy(
            *(x.detach() for x in seen_with_retained_slopes(model, place, image[None], label[None]))
        )
        for image, label in zip(images, labels, strict=True)
    ]
    return np.mean(scores, axis=0)


def taylor_before_the_relu(model, place, images, labels):
    """Where the ReLU is 0 so is the product, and elsewhere it changes nothing."""
    seen = []
    handle = getattr(model, place).register_forward_pre_hook(lambda *call: seen.append(call[1][0]))
    try:
        loss = functional.cross_entropy(model(images), labels, reduction="sum")
    finally:
        handle.remove()
    return scored_by_einsum(seen[0].detach(), torch.autograd.grad(loss, seen[0])[0])


def said_one_by_one(scale, shift):
    return [max(0.0, b) if a == 0 else 0 for a, b in zip(scale.tolist(), shift.tolist(), strict=True)]


def said_by_running(scale, shift):
    """Two inputs tell what is constant: the dead say the same to both."""
    first, second = ((x * scale + shift).relu() for x in (3.0, -5.0))
    return torch.where(scale == 0, (first + second) / 2, torch.zeros(()))


def bias_by_running(scale, shift, weight, bias):
    return nn.functional.linear(said_by_running(scale, shift), weight, bias).double()


def bias_as_list(scale, shift, weight, bias):
    said = said_one_by_one(scale, shift)
    return [
        start + sum(w * s for w, s in zip(row, said, strict=True))
        for row, start in zip(weight.tolist(), bias.tolist(), strict=True)
    ]


def bury_by_package(scale, shift, weight, bias):
    width = len(scale)
    model = nn.Sequential(nn.Linear(3, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Linear(width, len(bias)))
    with torch.no_grad():
        for parameter, value in zip(list(model[1:].parameters()), (scale, shift, weight, bias), strict=True):
            parameter.copy_(value)
    last = drop_dead(model.eval(), torch.zeros(1, 3))[3]
    return torch.cat([last.weight, last.bias[:, None]], dim=1)


def bury_in_numpy(scale, shift, weight, bias):
    living = scale.numpy() != 0
    heard = np.maximum(shift.numpy()[~living], 0)
    return np.column_stack([weight.numpy()[:, living], bias.numpy() + weight.numpy()[:, ~living] @ heard])


def signs_by_bits(n):
    return np.array([[1 - 2 * (number >> place & 1) for place in range(n)] for number in range(2**n)])


def signs_by_recursion(n):
    return [[]] if n == 0 else [[sign, *row] for row in signs_by_recursion(n - 1) for sign in (-1, 1)]


def sums_by_product(differences):
    return torch.tensor(signs_by_bits(len(differences))) @ torch.tensor(differences)


def sums_by_doubling(differences):
    sums = [0]
    for one in differences:
        sums = [total + sign * one for sign in (1, -1) for total in sums]
    return [float(total) for total in sums]


def chance_as_fraction(differences):
    sums = sums_by_doubling(differences)
    return Fraction(sum(abs(total) >= abs(sum(differences)) for total in sums), len(sums))


def chance_in_numpy(differences):
    sums = signs_by_bits(len(differences)) @ np.array(differences)
    return (np.abs(sums) >= abs(np.sum(differences))).mean()


def words_by_package(lengths):
    words = huffman.canonical_codes(np.array(lengths))
    return tuple(f"{int(word):0{n}b}" if n else "" for word, n in zip(words, lengths, strict=True))


def words_by_halving(lengths):
    """A word of n bits takes 2 ** -n of the line from 0 to 1; where it begins are its bits."""
    words, begin = np.array([""] * len(lengths), dtype=object), Fraction(0)
    for length, symbol in sorted((n, s) for s, n in enumerate(lengths) if n):
        words[symbol] = format(int(begin * 2**length), "b").zfill(length)
        begin += Fraction(1, 2**length)
    return words


def first_by_growing(bits, words, begin):
    end = begin + 1
    while bits[begin:end] not in words:
        end += 1
    return [words.index(bits[begin:end]), end]


def first_from_table(bits, words, begin):
    table = {word: symbol for symbol, word in enumerate(words) if word}
    ends = [end for end in range(begin + 1, len(bits) + 1) if bits[begin:end] in table]
    return np.array([table[bits[begin : ends[0]]], ends[0]])


def read_with_pattern(bits, lengths):
    table = {word: symbol for symbol, word in enumerate(words_by_package(lengths)) if word}
    return [table[word] for word in re.findall("|".join(table), bits)]


def read_by_numbers(bits, lengths):
    words, word, last = {}, 0, 0
    for length, symbol in sorted((n, s) for s, n in enumerate(lengths) if n):
        word <<= length - last
        words[length, word] = symbol
        word, last = word + 1, length
    symbols, read, length = [], 0, 0
    for bit in bits:
        read, length = 2 * read + int(bit), length + 1
        if (length, read) in words:
            symbols.append(words[length, read])
            read = length = 0
    return np.array(symbols)


def positions_by_counting(side, kernel, stride, padding):
    return len(range(-padding, side + padding - kernel + 1, stride))


def positions_by_torch(side, kernel, stride, padding):
    return nn.MaxPool1d(kernel, stride)(torch.zeros(1, 1, side + 2 * padding)).shape[-1]


def macs_of_groups(conv):
    return conv.kernel_size[0] ** 2 * conv.in_channels * conv.out_channels / conv.groups


def macs_of_one_place_by_flops(conv):
    """As large an image as the kernel: there is one place."""
    with FlopCounterMode(display=False) as counted:
        conv(torch.zeros(1, conv.in_channels, *conv.kernel_size))
    return torch.tensor(counted.get_total_flops() // 2)


def scales_as_list(rows, bits):
    return [[max(map(abs, row)) / (2 ** (bits - 1) - 1) or 1] for row in rows.tolist()]


def scales_flat_in_float64(rows, bits):
    ends = rows.double().numpy().__abs__().max(1)
    return np.where(ends == 0, 1.0, ends / (2 ** (bits - 1) - 1))


def codes_half_up(rows, scales, bits):
    top = 2 ** (bits - 1) - 1
    return np.clip(np.floor(rows.numpy() / scales.numpy() + 0.5), -top, top).astype(int)


def codes_by_torch(rows, scales, bits):
    top = 2 ** (bits - 1) - 1
    scales, zeros = scales.flatten(), torch.zeros(len(rows), dtype=torch.int32)
    decoded = torch.fake_quantize_per_channel_affine(rows, scales, zeros, 0, -top, top)
    return (decoded / scales[:, None]).round()


def with_ends_as_lists(rows, ends, bits):
    top, decoded = 2 ** (bits - 1) - 1, []
    for row, (end,) in zip(rows.tolist(), ends.tolist(), strict=True):
        codes = [min(max(round(weight * top / end), -top), top) for weight in row]
        decoded.append([code * end / top for code in codes])
    return decoded


def with_ends_clamped_first(rows, ends, bits):
    scale = ends.double() / (2 ** (bits - 1) - 1)
    return torch.round(torch.minimum(torch.maximum(rows, -ends), ends) / scale) * scale


def errors_by_norm(rows, decoded):
    return (rows - decoded).double().norm(dim=1) ** 2


def errors_as_list(rows, decoded):
    return [sum((x - y) ** 2 for x, y in zip(*pair, strict=True)) for pair in zip(rows, decoded, strict=True)]


def byte_by_text(five):
    return int("".join(map(str, five[::-1])), 3)


def byte_by_horner(five):
    total = np.int64(0)
    for code in reversed(five):
        total = 3 * total + code
    return total


def fives_in_numpy(codes):
    return np.reshape(codes, (-1, 5))


def fives_by_zip(codes):
    return list(zip(*[iter(codes)] * 5, strict=True))


def levels_in_numpy(top, count):
    positive = top / np.sqrt(2.0) ** np.arange(count)
    return np.concatenate([[0], positive, -positive])


def levels_one_by_one(top, count):
    levels = [0]
    for k in range(count):
        levels += [top * 2 ** (-k / 2), -top * 2 ** (-k / 2)]
    return levels


def nearest_as_list(weights, levels):
    return [min(levels.tolist(), key=lambda level: abs(level - weight)) for weight in weights.tolist()]


def nearest_by_middles(weights, levels):
    ordered = np.sort(levels.numpy())
    return ordered[np.searchsorted((ordered[1:] + ordered[:-1]) / 2, weights.numpy())]


def group_error_by_variance(values):
    return values.numpy().var() * len(values)


def group_error_by_moments(values):
    return values.square().sum() - values.sum() ** 2 / len(values)


def begin_by_loop(ordered, errors):
    best, place = float("inf"), None
    for i, error in enumerate(errors):
        total = error + group_error_by_variance(ordered[i:])
        if total < best:
            best, place = total, i
    return place


def begin_in_numpy(ordered, errors):
    last = [float(group_error_by_moments(ordered[i:])) for i in range(len(ordered))]
    return np.argmin(np.array(errors) + last)


def sign_as_list(weights):
    return [1 if weight >= 0 else -1 for weight in weights.tolist()]


def sign_of_sign(weights):
    return (weights.sign() + 0.5).sign().double()


def slope_by_clamp(weights):
    leaf = weights.clone().requires_grad_()
    return torch.autograd.grad(leaf.clamp(-1, 1).sum(), leaf)[0]


def slope_as_truths(weights):
    return (weights >= -1) & (weights <= 1)


def halves_up_by_fraction(total, shift):
    return math.floor(Fraction(total, 2**shift) + Fraction(1, 2))


def halves_up_by_doubling(total, shift):
    return (2 * total + (1 << shift)) >> (shift + 1)


def halves_away_by_fraction(total, shift):
    return int(math.copysign(1, total)) * math.floor(Fraction(abs(total), 2**shift) + Fraction(1, 2))


def halves_away_by_decimal(total, shift):
    with localcontext(prec=60):
        return int((Decimal(total) / 2**shift).quantize(Decimal(1), ROUND_HALF_UP))


def sizes_as_list(tensors):
    return [abs(weight) for tensor in tensors for weight in tensor.flatten().tolist()]


def sizes_in_numpy(tensors):
    return np.abs(np.concatenate([tensor.numpy().ravel() for tensor in tensors])).astype(np.float64)


def marked_as_list(magnitudes, count):
    order = sorted(range(len(magnitudes)), key=lambda place: float(magnitudes[place]))
    return [place in order[:count] for place in range(len(order))]


def marked_by_rank(magnitudes, count):
    return magnitudes.numpy().argsort(kind="stable").argsort() < count


def outputs_at_once(model, relu, images):
    """Batch norm and dropout sleep, so the size of a batch does not matter."""
    seen = {}
    handle = model.get_submodule(relu).register_forward_hook(lambda *call: seen.update(last=call[2]))
    try:
        model(images)
    finally:
        handle.remove()
    return seen["last"].detach()


def outputs_neurons_first(model, relu, images):
    return outputs_at_once(model, relu, images).transpose(0, 1).flatten(1).double()


def mean_of_axes(values):
    return values.mean([axis for axis in range(values.ndim) if axis != 1]).double()


def mean_by_neuron(values):
    return [float(values[:, neuron].mean()) for neuron in range(values.shape[1])]


def root_by_recursion(parent, i):
    return i if parent[i] == i else root_by_recursion(parent, parent[i])


def root_by_repeating(parent, i):
    for _ in parent:
        i = parent[i]
    return np.int64(i)


def tie_in_place(parent, left, right):
    low, high = sorted([root_by_recursion(parent, left), root_by_recursion(parent, right)])
    parent[high] = low
    return parent


def tie_all_at_once(parent, left, right):
    """Every neuron points to its root."""
    roots = [root_by_recursion(parent, i) for i in range(len(parent))]
    low = min(roots[left], roots[right])
    return [low if root in (roots[left], roots[right]) else root for root in roots]


def near_one_by_one(logits, labels, temperature):
    rows = [[] for _ in range(logits.shape[1])]
    for answer, label in zip(logits.tolist(), labels.tolist(), strict=True):
        powers = [0 if place == label else np.exp(one / temperature) for place, one in enumerate(answer)]
        rows[label].append([power / sum(powers) for power in powers])  # the right class never enters
    return [np.mean(row, axis=0) for row in rows]


def near_in_numpy(logits, labels, temperature):
    wrong = np.exp(
        logits.numpy() / temperature - np.log(np.exp(logits.numpy() / temperature).sum(1)[:, None])
    )
    wrong[np.arange(len(wrong)), labels] = 0
    wrong /= wrong.sum(1, keepdims=True)
    return np.stack([wrong[labels.numpy() == label].mean(0) for label in range(wrong.shape[1])])


def alone_by_diagonal(weights, metric):
    return np.diag(np.diag(weights.numpy()) @ metric.numpy() @ np.diag(weights.numpy()))


def alone_as_list(weights, metric):
    return [float(weight) ** 2 * float(metric[place, place]) for place, weight in enumerate(weights)]


def helped_by_solving(weights, metric):
    """Set one weight to 0 and solve for the others."""
    costs = []
    for place in range(len(weights)):
        rest = [other for other in range(len(weights)) if other != place]
        moved = torch.linalg.solve(metric[rest][:, rest], metric[rest, place] * weights[place])
        error = torch.zeros_like(weights)
        error[rest], error[place] = moved, -weights[place]
        costs.append(error @ metric @ error)
    return torch.stack(costs)


def helped_in_numpy(weights, metric):
    return np.square(weights.numpy()) / np.linalg.pinv(metric.numpy()).diagonal()


def after_by_solving(weights, metric):
    place = int(helped_by_solving(weights, metric).argmin())
    rest = [other for other in range(len(weights)) if other != place]
    left = torch.zeros_like(weights)
    left[rest] = torch.linalg.solve(metric[rest][:, rest], (metric @ weights)[rest])
    return left


def after_by_unit(weights, metric):
    found = []
    for place in range(len(weights)):
        unit = torch.eye(len(weights), dtype=weights.dtype)[place]
        column = np.linalg.solve(metric.numpy(), unit.numpy())
        found.append((weights[place].item() ** 2 / column[place], place, column))
    _, place, column = min(found, key=lambda one: one[0])
    return weights.numpy() - weights[place].item() * column / column[place]


def price_as_fraction(lost, more_lost, cost, less):
    return Fraction(more_lost - lost) / Fraction(cost - less)


def price_as_slope(lost, more_lost, cost, less):
    return -np.polyfit([cost, less], [lost, more_lost], 1)[0]


def first_by_nested_loops(now, losses, costs):
    best = (math.inf, None, None)
    for layer, (loss, cost, at) in enumerate(zip(losses, costs, now, strict=True)):
        for option, (more, less) in enumerate(zip(loss, cost, strict=True)):
            if less < cost[at] and (more - loss[at]) / (cost[at] - less) < best[0]:
                best = (more - loss[at]) / (cost[at] - less), layer, option
    return list(best[1:])


def first_in_numpy(now, losses, costs):
    prices = {}
    for layer, at in enumerate(now):
        saved = costs[layer][at] - np.array(costs[layer])
        with np.errstate(divide="ignore", invalid="ignore"):
            dear = (np.array(losses[layer]) - losses[layer][at]) / saved
        prices |= {(layer, int(option)): dear[option] for option in np.flatnonzero(saved > 0)}
    return np.array(min(prices, key=prices.get))


def spend_by_recursion(losses, costs, budget, now=None):
    now = now or (0,) * len(costs)
    if sum(cost[at] for cost, at in zip(costs, now, strict=True)) <= budget:
        return now
    layer, option = first_by_nested_loops(now, losses, costs)
    return spend_by_recursion(losses, costs, budget, (*now[:layer], option, *now[layer + 1 :]))


def spend_by_path(losses, costs, budget):
    """The package's path, of parts that cost what option 0 does."""
    knobs = [
        Knob(str(layer), tuple(loss), tuple({str(layer): one / cost[0]} for one in cost))
        for layer, (loss, cost) in enumerate(zip(losses, costs, strict=True))
    ]
    for choice in greedy_path({str(layer): float(cost[0]) for layer, cost in enumerate(costs)}, knobs):
        if sum(cost[option] for cost, option in zip(costs, choice.values(), strict=True)) <= budget:
            return np.array(list(choice.values()))
    return None


def moved_one_by_one(weights, activations, batch, width):
    return sum([weights * width] + [activations * width for _ in range(batch)])


def moved_in_numpy(weights, activations, batch, width):
    return np.array([weights, activations]) @ [1, batch] * np.float64(width)


def roof_by_cases(intensity, peak, bandwidth):
    ridge = peak / bandwidth  # where the two limits meet
    return peak if intensity >= ridge else peak * intensity / ridge


def roof_by_times(intensity, peak, bandwidth):
    """One product takes its share of both limits; the longer time holds."""
    return 1 / max(1 / peak, 1 / (intensity * bandwidth))


def least_by_loop(layers, batch, width, peak, bandwidth):
    total = 0
    for macs, weights, activations in layers:
        read = moved_one_by_one(weights, activations, batch, width)
        total += batch * macs / roof_by_cases(batch * macs / read, peak, bandwidth)
    return total


def least_in_numpy(layers, batch, width, peak, bandwidth):
    macs, weights, activations = np.array(layers, dtype=np.float64).T
    read = width * (weights + batch * activations)
    return np.maximum(batch * macs / peak, read / bandwidth).sum()


def ranked_in_numpy(files):
    size, right = np.array(files).T
    order = np.argsort(size, kind="stable")
    return order[right[order] >= 970]


def ranked_by_pairs(files):
    return tuple(
        n for _, n in sorted((size, n) for n, (size, right) in enumerate(files) if right / 1000 >= 0.97)
    )


def unbeaten_by_sweep(files):
    """From the smallest on, each must read more than all before it."""
    best, found = -1, []
    for size, right in sorted(files, key=lambda one: (one[0], -one[1])):
        if right > best:
            best, found = right, [*found, [size, right]]
    return found


def unbeaten_in_numpy(files):
    one = np.array(sorted(files))
    size, right = one[:, None].T[0], one[:, None].T[1]
    beats = (size <= size.T) & (right >= right.T) & ((size < size.T) | (right > right.T))
    return one[~beats.any(1)]


def price_by_recursion(size_of, limit, low, high, rounds):
    if not rounds:
        return high
    middle = low * (high / low) ** 0.5
    ends = (low, middle) if size_of(middle) <= limit else (middle, high)
    return price_by_recursion(size_of, limit, *ends, rounds - 1)


def price_by_logarithm(size_of, limit, low, high, rounds):
    ends = np.log([low, high])
    for _ in range(rounds):
        ends[int(size_of(float(np.exp(ends.mean()))) <= limit)] = ends.mean()
    return np.exp(ends[1])


def bits_as_product(code, share, ratio):
    size = abs(code)
    chance = share / 2 * (1 - ratio) * ratio ** (size - 1) if size else 1 - share
    return -math.log2(chance)


def bits_in_numpy(code, share, ratio):
    parts = [share, 0.5, 1 - ratio, *[ratio] * (abs(code) - 1)] if code else [1 - share]
    return -np.log2(parts).sum()


def cheapest_of_both_signs(weight, step, price, table):
    codes = range(1 - len(table), len(table))
    return min(codes, key=lambda code: (weight - step * code) ** 2 + price * table[abs(code)])


def cheapest_in_numpy(weight, step, price, table):
    sizes = np.arange(len(table))
    cost = (abs(weight) - step * sizes) ** 2 + price * np.array(table)
    return np.sign(weight) * cost.argmin()


def settled(weights, step, price, rounds, cheapest):
    codes = [cheapest(weight, step, 0.0, [0.0] * 6) for weight in weights]
    for _ in range(rounds):
        sizes = np.abs(codes)
        share = ((sizes > 0).sum() + 0.5) / (len(sizes) + 1)
        ratio = np.clip(1 - ((sizes > 0).sum() + 1) / (sizes.sum() + 1), 0.05, 0.95)
        table = [bits_in_numpy(size, share, ratio) for size in range(6)]
        codes = [cheapest(weight, step, price, table) for weight in weights]
    return codes


def settled_as_list(weights, step, price, rounds):
    return [int(code) for code in settled(weights, step, price, rounds, cheapest_of_both_signs)]


def settled_in_numpy(weights, step, price, rounds):
    return np.array(settled(weights, step, price, rounds, cheapest_in_numpy))


OTHERS = {
    "01-3a": (positions_by_counting, positions_by_torch),
    "01-3b": (macs_of_groups, macs_of_one_place_by_flops),
    "02-3a": (scales_as_list, scales_flat_in_float64),
    "02-3b": (codes_half_up, codes_by_torch),
    "03-3a": (with_ends_as_lists, with_ends_clamped_first),
    "03-3b": (errors_by_norm, errors_as_list),
    "04-3a": (byte_by_text, byte_by_horner),
    "04-3b": (fives_in_numpy, fives_by_zip),
    "05-3a": (levels_in_numpy, levels_one_by_one),
    "05-3b": (nearest_as_list, nearest_by_middles),
    "06-3a": (group_error_by_variance, group_error_by_moments),
    "06-3b": (begin_by_loop, begin_in_numpy),
    "07-3a": (sign_as_list, sign_of_sign),
    "07-3b": (slope_by_clamp, slope_as_truths),
    "08-3a": (halves_up_by_fraction, halves_up_by_doubling),
    "08-3b": (halves_away_by_fraction, halves_away_by_decimal),
    "09-3a": (sizes_as_list, sizes_in_numpy),
    "09-3b": (marked_as_list, marked_by_rank),
    "12-3a": (outputs_at_once, outputs_neurons_first),
    "12-3b": (mean_of_axes, mean_by_neuron),
    "15-3a": (root_by_recursion, root_by_repeating),
    "15-3b": (tie_in_place, tie_all_at_once),
    "01-3": (macs_by_shape, macs_by_running),
    "02-3": (rows_half_up, rows_as_lists),
    "03-3": (end_in_float64, end_in_numpy),
    "04-3": (trits_by_text, trits_in_numpy),
    "05-3": (half_steps_one_by_one, half_steps_in_float64),
    "06-3": (levels_in_float32, levels_by_all_cuts),
    "07-3": (SignThrough.apply, sign_by_product),
    "08-3": (rescaled_by_fraction, rescaled_by_doubling),
    "09-3": (masks_as_list, masks_as_integers),
    "12-3": (means_with_hook, means_layer_by_layer),
    "15-3": (roots_by_pointers, roots_by_walking),
    "10-3a": (cost_one_by_one, cost_expanded),
    "10-3b": (slope_by_autograd, slope_by_sides),
    "10-3": (elastic_by_sides, elastic_by_search),
    "11-3a": (groups_in_numpy, groups_as_lists),
    "11-3b": (mask_as_lists, mask_by_topk),
    "11-3": (kept_one_by_one, kept_as_lists),
    "13-3a": (seen_by_replacing, seen_with_retained_slopes),
    "13-3b": (scored_by_einsum, scored_in_numpy),
    "13-3": (taylor_image_by_image, taylor_before_the_relu),
    "14-3a": (said_one_by_one, said_by_running),
    "14-3b": (bias_by_running, bias_as_list),
    "14-3": (bury_by_package, bury_in_numpy),
    "16-3a": (signs_by_bits, signs_by_recursion),
    "16-3b": (sums_by_product, sums_by_doubling),
    "16-3": (chance_as_fraction, chance_in_numpy),
    "17-3": (near_one_by_one, near_in_numpy),
    "18-3a": (words_by_package, words_by_halving),
    "18-3b": (first_by_growing, first_from_table),
    "18-3": (read_with_pattern, read_by_numbers),
    "19-3a": (alone_by_diagonal, alone_as_list),
    "19-3b": (helped_by_solving, helped_in_numpy),
    "19-3": (after_by_solving, after_by_unit),
    "20-3a": (price_as_fraction, price_as_slope),
    "20-3b": (first_by_nested_loops, first_in_numpy),
    "20-3": (spend_by_recursion, spend_by_path),
    "21-3a": (moved_one_by_one, moved_in_numpy),
    "21-3b": (roof_by_cases, roof_by_times),
    "21-3": (least_by_loop, least_in_numpy),
    "22-3a": (ranked_in_numpy, ranked_by_pairs),
    "22-3b": (unbeaten_by_sweep, unbeaten_in_numpy),
    "22-3": (price_by_recursion, price_by_logarithm),
    "23-3a": (bits_as_product, bits_in_numpy),
    "23-3b": (cheapest_of_both_signs, cheapest_in_numpy),
    "23-3": (settled_as_list, settled_in_numpy),
}


@pytest.mark.parametrize(
    ("name", "right"),
    [pytest.param(name, one, id=one.__name__) for name, pair in OTHERS.items() for one in pair],
)
def test_another_right_function_is_right(name, right, capsys):
    check(name, right)
    assert capsys.readouterr().out.startswith("Right: ")


def test_every_task_has_two_other_right_functions():
    assert {name: len(set(pair)) for name, pair in OTHERS.items()} == dict.fromkeys(TASKS, 2)
