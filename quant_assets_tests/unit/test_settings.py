"""What the environment may say, what it may not, and that nothing starts before it is needed."""

from datetime import date
from pathlib import Path

import pytest

from quant_assets.errors import BadConfigurationError
from quant_assets.sandbox import locate
from quant_assets.settings import SANDBOX_KEY, Settings, load_macro_series, read_settings

SECRETS = ("FRED_API_KEY", "ALPHA_VANTAGE_API_KEY", "SLACK_BOT_TOKEN")
VARIABLES = [field.alias for field in Settings.model_fields.values()]


@pytest.fixture(autouse=True)
def bare_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No variable set, and a working directory without a .env."""
    for variable in VARIABLES:
        monkeypatch.delenv(str(variable), raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _set(monkeypatch: pytest.MonkeyPatch, **variables: str) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


def test_defaults_are_the_sandbox_without_keys(bare_environment: Path) -> None:
    found = read_settings()
    assert found.profile == "sandbox"
    assert found.home_dir == bare_environment / ".quant" / "sandbox"
    assert found.data_dir == bare_environment / ".quant" / "sandbox" / "data"
    assert found.news_start == date(2022, 3, 1)
    assert (found.fred_key(), found.alpha_vantage_key()) == (SANDBOX_KEY, SANDBOX_KEY)
    assert found.has_fred
    assert found.has_alpha_vantage
    assert found.yahoo_pace_per_second == 500
    assert found.alpha_vantage_pace_per_minute == 1200
    assert found.alpha_vantage_asked() == tuple(x.symbol for x in found.universe("us"))
    assert len(found.universe("kr")) > 5
    assert {"UNRATE", "CPIAUCSL", "T10Y2Y"} <= {s.series_id for s in found.series()}


def test_every_setting_has_a_variable_in_capitals() -> None:
    assert all(variable and variable.isupper() for variable in VARIABLES)
    assert len(set(VARIABLES)) == len(VARIABLES)


def test_every_setting_stands_in_the_example() -> None:
    example = (Path(__file__).resolve().parents[2] / ".env.example").read_text("utf-8")
    assert {variable for variable in VARIABLES if f"{variable}=" not in example} == set()


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("QUANT_PROFILE", "prod", "'sandbox', 'replay' or 'live'"),
        ("QUANT_PROFILE", "LIVE", "'sandbox', 'replay' or 'live'"),
        ("QUANT_NEWS_START", "yesterday", "valid date"),
        ("QUANT_YAHOO_WORKERS", "0", "greater than or equal to 1"),
        ("QUANT_YAHOO_WORKERS", "17", "less than or equal to 16"),
        ("QUANT_YAHOO_WORKERS", "six", "valid integer"),
        ("QUANT_YAHOO_CALLS_PER_SECOND", "0", "greater than 0"),
        ("QUANT_YAHOO_CALLS_PER_SECOND", "inf", "less than or equal to 1000"),
        ("QUANT_YAHOO_CALLS_PER_SECOND", "nan", "less than or equal to 1000"),
        ("QUANT_ALPHA_VANTAGE_CALLS_PER_MINUTE", "0", "greater than or equal to 1"),
        ("QUANT_VENDOR_TIMEOUT_SECONDS", "-1", "greater than 0"),
        ("QUANT_VENDOR_TIMEOUT_SECONDS", "121", "less than or equal to 120"),
        ("QUANT_MINIMUM_SUCCESS_RATIO", "1.01", "less than or equal to 1"),
        ("QUANT_KR_MINIMUM_SUCCESS_RATIO", "0", "greater than 0"),
        ("QUANT_LATE_BAR_WAIT_SECONDS", "601", "less than or equal to 600"),
        ("QUANT_VENDOR_BACKOFF_SECONDS", "-0.1", "greater than or equal to 0"),
        ("QUANT_ALPHA_VANTAGE_CALLS_PER_DAY", "0", "greater than or equal to 1"),
        ("QUANT_RAW_RETENTION_DAYS", "-1", "greater than or equal to 0"),
        ("QUANT_ARTICLE_TEXT", "maybe", "valid boolean"),
        ("QUANT_SANDBOX_SEED", "-1", "greater than or equal to 0"),
        ("QUANT_SANDBOX_SEED", "1.5", "valid integer"),
        ("QUANT_RSS_FEEDS", "ftp://feeds.example/x", "http(s) address"),
        ("QUANT_SCORING", "{trend: 1", "not JSON"),
        ("QUANT_SCORING", "[1, 2]", "valid dictionary"),
        ("QUANT_MAIL_FROM", "quant@", "no e-mail address"),
        ("QUANT_MAIL_FROM", "a..b@desk.example", "no e-mail address"),
        ("QUANT_MAIL_FROM", "a@b@desk.example", "no e-mail address"),
        ("QUANT_MAIL_FROM", "a,b@desk.example", "no e-mail address"),
        ("QUANT_MAIL_FROM", "quant@d\u00e9sk.example", "no e-mail address"),
        ("QUANT_MAIL_TO", "ops@desk.example, x@", "no e-mail address"),
        ("QUANT_SLACK_CHANNEL", "# runs", "match pattern"),
    ],
)
def test_a_wrong_value_names_its_variable_and_what_is_allowed(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, said: str
) -> None:
    _set(monkeypatch, **{variable: value})
    with pytest.raises(BadConfigurationError) as caught:
        read_settings()
    message = str(caught.value)
    assert variable in message
    assert (value in message) != (variable == "QUANT_RSS_FEEDS"), "a feed may hold a password"
    assert said in message


def test_a_wrong_channel_of_alerts_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    _set(monkeypatch, QUANT_SLACK_ALERT_CHANNELS='{"critical": "on call"}')
    with pytest.raises(BadConfigurationError, match="QUANT_SLACK_ALERT_CHANNELS = 'on call'"):
        read_settings()


def test_every_wrong_value_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    _set(monkeypatch, QUANT_PROFILE="x", QUANT_YAHOO_WORKERS="0", QUANT_SANDBOX_SEED="y")
    with pytest.raises(BadConfigurationError) as caught:
        read_settings()
    for name in ("QUANT_PROFILE", "QUANT_YAHOO_WORKERS", "QUANT_SANDBOX_SEED"):
        assert name in str(caught.value)


@pytest.mark.parametrize("secret", SECRETS)
def test_secrets_are_shown_nowhere(monkeypatch: pytest.MonkeyPatch, secret: str) -> None:
    _set(monkeypatch, **{secret: "topsecretvalue"})
    found = read_settings()
    for text in (repr(found), str(found), str(found.model_dump()), found.model_dump_json()):
        assert "topsecretvalue" not in text
    _set(monkeypatch, QUANT_PROFILE="nonsense", QUANT_SANDBOX_SEED="x")
    with pytest.raises(BadConfigurationError) as caught:
        read_settings()
    assert "topsecretvalue" not in f"{caught.value!r} {caught.value.__cause__!r}"


@pytest.mark.parametrize("secret", SECRETS)
def test_a_secret_of_a_wrong_type_is_refused_without_showing_it(secret: str) -> None:
    with pytest.raises(BadConfigurationError) as caught:
        read_settings(**{secret: ["topsecretvalue"]})
    assert secret in str(caught.value)
    assert "topsecretvalue" not in str(caught.value)


def test_secrets_stay_hidden_when_profile_and_data_disagree(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _set(monkeypatch, FRED_API_KEY="topsecretvalue", QUANT_PROFILE="replay")
    with pytest.raises(BadConfigurationError, match="QUANT_SANDBOX_DATA") as caught:
        read_settings()
    assert "topsecretvalue" not in str(caught.value)


def test_recorded_files_belong_to_the_replay(monkeypatch: pytest.MonkeyPatch) -> None:
    _set(monkeypatch, QUANT_SANDBOX_DATA="recorded")
    assert read_settings().replayed_data is None
    _set(monkeypatch, QUANT_PROFILE="replay")
    assert read_settings().is_sandbox
    assert read_settings().replayed_data == Path("recorded").absolute()


@pytest.mark.parametrize("profile", ["sandbox", "live"])
def test_an_instance_of_another_profile_is_refused(
    monkeypatch: pytest.MonkeyPatch, bare_environment: Path, profile: str
) -> None:
    other = {"sandbox": "live", "live": "sandbox"}[profile]
    _set(monkeypatch, QUANT_PROFILE=profile, DAGSTER_HOME=str(bare_environment / ".quant" / other))
    with pytest.raises(BadConfigurationError, match=f"profile '{other}'.*--profile {profile}"):
        read_settings()
    for allowed in (bare_environment / ".quant" / profile, bare_environment / "elsewhere"):
        _set(monkeypatch, DAGSTER_HOME=str(allowed))
        assert read_settings().dagster_home == allowed


def test_the_instance_tells_where_the_data_are(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    instance = tmp_path / "project" / ".quant" / "sandbox"
    _set(monkeypatch, DAGSTER_HOME=str(instance))
    assert read_settings().data_dir == instance / "data"
    _set(monkeypatch, QUANT_HOME=str(tmp_path / "home"))
    assert read_settings().data_dir == tmp_path / "home" / "data"
    _set(monkeypatch, QUANT_DATA_ROOT=str(tmp_path / "data"))
    assert read_settings().data_dir == tmp_path / "data"


def test_a_dotenv_file_is_read_and_the_environment_comes_first(
    bare_environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (bare_environment / ".env").write_text(
        "QUANT_SANDBOX_SEED=11\nQUANT_YAHOO_WORKERS=3\nQUANT_HOME=~/quant\nUNKNOWN=1\n"
        "QUANT_RSS_FEEDS=https://a.example/x, https://b.example/y\nQUANT_US_UNIVERSE=\n"
        'QUANT_SCORING={"technical_weight": 0.6, "sentiment_weight": 0.4}\n'
    )
    _set(monkeypatch, QUANT_YAHOO_WORKERS="4", HOME="/home/somebody")
    found = read_settings()
    assert (found.sandbox_seed, found.yahoo_workers) == (11, 4)
    assert found.rss_feeds == ("https://a.example/x", "https://b.example/y")
    assert found.us_universe == ""
    assert found.scoring == {"technical_weight": 0.6, "sentiment_weight": 0.4}
    assert found.home_dir == Path("/home/somebody/quant")


def test_a_wrong_value_in_a_dotenv_file_is_named(bare_environment: Path) -> None:
    (bare_environment / ".env").write_text("QUANT_PROFILE=staging\n")
    with pytest.raises(BadConfigurationError, match="QUANT_PROFILE = 'staging'"):
        read_settings()


def test_an_empty_variable_is_an_unset_one(monkeypatch: pytest.MonkeyPatch) -> None:
    _set(monkeypatch, QUANT_PROFILE="", QUANT_YAHOO_CALLS_PER_SECOND="", QUANT_HOME="")
    assert read_settings() == read_settings(QUANT_PROFILE="sandbox")


def test_a_long_list_of_symbols_is_no_name_of_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ",".join(f"SYM{n}" for n in range(500))
    _set(monkeypatch, QUANT_US_UNIVERSE=names)
    assert read_settings().universe_source("us") == names.encode()
    assert len(read_settings().universe("us")) == 500


def test_lists_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    _set(monkeypatch, QUANT_ALPHA_VANTAGE_TICKERS=" AAPL, MSFT ,", QUANT_US_UNIVERSE="ZZZ, AAPL")
    found = read_settings()
    assert found.alpha_vantage_asked() == ("AAPL", "MSFT")
    assert [listing.symbol for listing in found.universe("us")] == ["ZZZ", "AAPL"]


def test_no_setting_can_be_changed_afterwards() -> None:
    found = read_settings()
    with pytest.raises(ValueError, match="frozen"):
        found.profile = "live"


def test_live_without_keys_asks_only_what_needs_none(monkeypatch: pytest.MonkeyPatch) -> None:
    _set(monkeypatch, QUANT_PROFILE="live")
    found = read_settings()
    assert not found.is_sandbox
    assert not found.has_fred
    assert not found.has_alpha_vantage
    assert found.alpha_vantage_asked() == ()
    assert found.yahoo_pace_per_second == 4
    assert found.alpha_vantage_pace_per_minute == 5
    assert found.fred_pace_per_minute <= 120
    _set(monkeypatch, FRED_API_KEY="f", ALPHA_VANTAGE_API_KEY="a", QUANT_YAHOO_CALLS_PER_SECOND="2")
    found = read_settings()
    assert (found.fred_key(), found.alpha_vantage_key()) == ("f", "a")
    assert found.has_fred
    assert found.has_alpha_vantage
    assert found.yahoo_pace_per_second == 2


def test_live_endpoints_are_the_vendors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locate, "ensure", lambda *_, **__: pytest.fail("a sandbox was asked for"))
    _set(monkeypatch, QUANT_PROFILE="live")
    found = read_settings().endpoints()
    assert found.yahoo_proxy is None
    addresses = (found.fred_url, found.alpha_vantage_url, found.slack_url, *found.rss_feeds)
    assert all(address.startswith("https://") for address in addresses)
    assert found.fred_url.startswith("https://api.stlouisfed.org/")


def test_the_sandbox_is_sought_when_a_vendor_is_needed_and_not_before(
    monkeypatch: pytest.MonkeyPatch, bare_environment: Path
) -> None:
    asked = []

    def ensure(home: Path, *, seed: int, data_dir: Path | None) -> str:
        asked.append((home, seed, data_dir))
        return "http://127.0.0.1:4321"

    monkeypatch.setattr(locate, "ensure", ensure)
    _set(monkeypatch, QUANT_SANDBOX_SEED="3")
    found = read_settings()
    found.universe("us")
    found.series()
    assert not asked
    endpoints = found.endpoints()
    assert asked == [(bare_environment / ".quant" / "sandbox", 3, None)]
    assert endpoints.yahoo_proxy == "http://127.0.0.1:4321"
    assert endpoints.fred_url == "http://127.0.0.1:4321/fred"
    assert endpoints.slack_url == "http://127.0.0.1:4321/api/"
    assert all(feed.startswith("http://127.0.0.1:4321/rss/") for feed in endpoints.rss_feeds)


def test_a_replays_universe_is_what_was_recorded(
    monkeypatch: pytest.MonkeyPatch, recorded_data: Path
) -> None:
    _set(monkeypatch, QUANT_PROFILE="replay", QUANT_SANDBOX_DATA=str(recorded_data / "recorded"))
    found = read_settings()
    # 88 US and 250 Korean symbols, as the recording's README counts them.
    assert (len(found.universe("us")), len(found.universe("kr"))) == (88, 250)
    assert all(listing.listed_on is not None for listing in found.universe("us"))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "does not exist"),
        ("series_id,name\nX,Y\n", "units"),
        (
            "series_id,name,units,frequency,publication_lag_days\nX,Y,Z,Monthly,soon\n",
            "soon",
        ),
        ("series_id,name,units,frequency,publication_lag_days\n", "names no series"),
    ],
)
def test_a_wrong_file_of_macro_series_is_refused(
    tmp_path: Path, content: str | None, said: str
) -> None:
    path = tmp_path / "series.csv"
    if content is not None:
        path.write_text(content)
    with pytest.raises(BadConfigurationError, match="QUANT_MACRO_SERIES") as caught:
        load_macro_series(str(path))
    assert said in str(caught.value)


def test_a_file_of_macro_series(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "series.csv"
    path.write_text(
        "series_id,name,units,frequency,publication_lag_days\nX,실업률,%,Monthly,\nY,b,c,Daily,2\n",
        encoding="utf-8",
    )
    _set(monkeypatch, QUANT_MACRO_SERIES=str(path))
    first, second = read_settings().series()
    assert (first.series_id, first.name, first.publication_lag_days) == ("X", "실업률", None)
    assert second.publication_lag_days == 2


def test_a_markets_own_success_ratio_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUANT_MINIMUM_SUCCESS_RATIO", "0.8")
    monkeypatch.setenv("QUANT_KR_MINIMUM_SUCCESS_RATIO", "0.5")
    found = read_settings()
    assert (found.success_ratio("us"), found.success_ratio("kr")) == (0.8, 0.5)


def test_what_the_sandbox_does_not_wait_for_or_count(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_settings().late_bar_pause_seconds == 0
    assert read_settings().alpha_vantage_daily_calls is None
    monkeypatch.setenv("QUANT_PROFILE", "live")
    assert read_settings().late_bar_pause_seconds == 30
    assert read_settings().alpha_vantage_daily_calls == 25
    monkeypatch.setenv("QUANT_LATE_BAR_WAIT_SECONDS", "0")
    assert read_settings().late_bar_pause_seconds == 0


def test_every_secret_is_known_for_masking(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUANT_PROFILE", "live")
    for name in ("FRED_API_KEY", "ALPHA_VANTAGE_API_KEY", "SLACK_BOT_TOKEN"):
        monkeypatch.setenv(name, f"secret of {name}")
    monkeypatch.setenv("QUANT_RSS_FEEDS", "https://me:hunter2@feeds.example/x")
    assert set(read_settings().secrets) == {
        "secret of FRED_API_KEY",
        "secret of ALPHA_VANTAGE_API_KEY",
        "secret of SLACK_BOT_TOKEN",
        "hunter2",
    }
