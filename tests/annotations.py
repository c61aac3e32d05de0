"""Execute the package's annotations while tests run, so that none of them can lie.

jaxtyping's import hook has beartype hold every argument and result against its annotation. Two things are
let through. What torch.fx puts in the place of a tensor while it traces is no tensor. And a test may pass
on purpose what an annotation forbids: then the package itself must refuse it, by a CompressionError; if it
does not, the annotation was wrong, or a check is missing, and the test sees jaxtyping's error.
"""

import functools
import inspect

import jaxtyping
from beartype import BeartypeConf, beartype
from jaxtyping import TypeCheckError, _decorator, install_import_hook
from torch import fx

checker = beartype(conf=BeartypeConf(is_pep484_tower=True))  # an int will do where a float is asked for
_jaxtyped = _decorator.jaxtyped

# Too narrow, since codes pass too; the stored chapters 03 and 18 show these lines, so they change together.
TOO_NARROW = ("PerTensor.split", "PerChannel.split", "PerGroup.split", "canonical_codes")


def install() -> None:
    """Do so for all of the package that is imported from now on."""
    jaxtyping.jaxtyped = _decorator.jaxtyped = _judging
    install_import_hook("compresslab", "annotations.checker")


def _judging(thing=None, **how):
    """Stand in the place of ``jaxtyping.jaxtyped``."""
    if thing is None:
        return functools.partial(_judging, **how)
    if getattr(thing, "__qualname__", "") in TOO_NARROW:
        return thing
    checked = _jaxtyped(thing, **how)
    if not inspect.isfunction(thing):
        return checked

    @functools.wraps(checked)
    def judged(*args, **kwargs):
        if any(isinstance(value, fx.Proxy) for value in args):
            return thing(*args, **kwargs)
        try:
            return checked(*args, **kwargs)
        except TypeCheckError as error:
            lie = error
        if not _about_arguments(lie):
            raise lie
        from compresslab.errors import CompressionError

        try:
            thing(*args, **kwargs)
        except CompressionError:
            raise
        except Exception:
            raise lie from None
        raise lie

    return judged


def _about_arguments(error: TypeCheckError) -> bool:
    """Tell the arguments of this very call, found before it began, from whatever went wrong inside it."""
    frames, place = [], error.__traceback__
    while place is not None:
        frames.append(place.tb_frame.f_code.co_name)
        place = place.tb_next
    return frames == ["judged", "wrapped_fn", "wrapped_fn_impl"] and "the parameters of" in str(error)
