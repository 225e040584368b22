"""The address of the serving tables: what may be given and where it leads."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from quant_assets.settings import Settings


def test_without_an_address_there_are_no_tables(tmp_path: Path) -> None:
    assert not Settings(QUANT_HOME=str(tmp_path)).has_serving


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("sqlite:///serving.db", "sqlite:///{home}/serving.db"),
        ("sqlite:////srv/serving.db", "sqlite:////srv/serving.db"),
        ("postgresql://quant:s3cret@db/quant", "postgresql://quant:s3cret@db/quant"),
    ],
)
def test_a_relative_file_lies_in_the_home(tmp_path: Path, url: str, address: str) -> None:
    settings = Settings(QUANT_HOME=str(tmp_path), QUANT_SERVING_URL=url)
    assert settings.has_serving
    assert settings.serving_address == address.format(home=tmp_path)


@pytest.mark.parametrize("url", ["mysql://db/quant", "serving.db", "postgres://db/quant"])
def test_another_address_is_refused_and_not_repeated(tmp_path: Path, url: str) -> None:
    with pytest.raises(ValidationError, match=r"postgresql://USER:PASSWORD@HOST/DATABASE") as found:
        Settings(QUANT_HOME=str(tmp_path), QUANT_SERVING_URL=url)
    assert "QUANT_SERVING_URL" in str(found.value)


@pytest.mark.parametrize("password", ["p:q@ss", "p[x", "a/b#c", "s%40cret"])
def test_a_password_of_any_signs_is_masked(tmp_path: Path, password: str) -> None:
    url = f"postgresql://quant:{password}@db:5432/quant"
    assert password in Settings(QUANT_HOME=str(tmp_path), QUANT_SERVING_URL=url).secrets


def test_a_password_behind_the_database_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="give the password before the host"):
        Settings(QUANT_HOME=str(tmp_path), QUANT_SERVING_URL="postgresql://db/q?password=x")


def test_the_password_is_a_secret(tmp_path: Path) -> None:
    url = "postgresql://quant:s3cret@db/quant"
    settings = Settings(QUANT_HOME=str(tmp_path), QUANT_SERVING_URL=url)
    assert "s3cret" in settings.secrets
    assert "s3cret" not in repr(settings)
