"""What jaxtyping checks soradit's signatures with: beartype, for which, as for mypy, an int will do as a float."""

from beartype import BeartypeConf, beartype

check = beartype(conf=BeartypeConf(is_pep484_tower=True))
