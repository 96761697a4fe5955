from datetime import UTC, datetime
from pathlib import Path

import pyarrow.compute as pc
import pytest

from pipelines.config import SourceConfig
from pipelines.errors import ConfigError, SourceError
from pipelines.sources.movielens import MovieLensSource, open_movielens

LATIN = "Misérables, Les (1995)"


def make_1m(folder: Path) -> Path:
    (folder / "ratings.dat").write_text("1::10::5::978300760\n1::20::3::978300760\n2::10::4::978300000\n")
    movies = f"10::Star Wars: Episode IV (1977)::Action|Sci-Fi\n20::{LATIN}::Drama\n30::Unrated (1990)::Comedy\n"
    (folder / "movies.dat").write_bytes(movies.encode("latin-1"))
    (folder / "users.dat").write_text("1::F::1::10::48067\n2::M::56::16::70072-1450\n")
    return folder


def make_100k(folder: Path) -> Path:
    (folder / "u.data").write_text("1\t10\t5\t978300760\n1\t20\t3\t978300760\n2\t10\t4\t978300000\n")
    flags = ["|".join("1" if flag in on else "0" for flag in range(19)) for on in ({1, 15}, {0}, {5})]
    movies = [f"{number}|{title}|01-Jan-1995||http://x/{number}|{flag}" for number, title, flag in
              zip((10, 20, 30), ("Star Wars (1977)", LATIN, "Unrated (1990)"), flags, strict=True)]  # fmt: skip
    (folder / "u.item").write_bytes("\n".join(movies).encode("latin-1"))
    (folder / "u.user").write_text("1|17|F|student|48067\n2|60|M|retired|70072\n")
    return folder


def make_csv(folder: Path) -> Path:
    head = "userId,movieId,rating,timestamp\n"
    (folder / "ratings.csv").write_text(head + "1,10,5.0,978300760\n1,20,3.5,978300760\n2,10,4.0,978300000\n")
    movies = f'10,Star Wars (1977),Action|Sci-Fi\n20,"{LATIN}",(no genres listed)\n30,Unrated (1990),Comedy\n'
    movies = "movieId,title,genres\n" + movies
    (folder / "movies.csv").write_text(movies, encoding="utf-8")
    return folder


@pytest.mark.parametrize("make", [make_1m, make_100k, make_csv])
def test_every_layout_gives_the_same_events_in_file_order(make: object, tmp_path: Path) -> None:
    assert callable(make)
    rows = MovieLensSource(make(tmp_path)).read("all").events.read_all().to_pylist()
    assert [(row["user_id"], row["item_id"]) for row in rows] == [("1", "10"), ("1", "20"), ("2", "10")]
    assert [row["event_id"] for row in rows] == ["000000000-1-10", "000000001-1-20", "000000002-2-10"]
    assert rows[0]["value"] == 5.0
    assert rows[0]["event_type"] == "rating"
    assert rows[0]["event_timestamp"] == rows[0]["ingested_at"] == datetime.fromtimestamp(978300760, UTC)


@pytest.mark.parametrize("make", [make_1m, make_100k, make_csv])
def test_every_layout_gives_items_known_from_the_first_rating_on(make: object, tmp_path: Path) -> None:
    assert callable(make)
    rows = MovieLensSource(make(tmp_path)).read("all").items.read_all().to_pylist()
    assert [row["item_id"] for row in rows] == ["10", "20", "30"]
    assert rows[1]["title"] == LATIN
    assert rows[0]["categories"] == ["Action", "Sci-Fi"]
    assert {row["updated_at"] for row in rows} == {datetime.fromtimestamp(978300000, UTC)}


def test_what_has_no_genre_has_no_category(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    for folder in (make_csv(tmp_path / "a"), make_100k(tmp_path / "b")):
        assert MovieLensSource(folder).read("all").items.read_all()["categories"][1].as_py() == []


def test_users_have_the_attributes_that_are_published(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    (tmp_path / "c").mkdir()
    one_million = MovieLensSource(make_1m(tmp_path / "a")).read("all").users.read_all()
    assert one_million["attributes"].to_pylist() == [
        ["gender=F", "age_group=under-18", "occupation=k12-student"],
        ["gender=M", "age_group=56-plus", "occupation=self-employed"],
    ]
    hundred_k = MovieLensSource(make_100k(tmp_path / "b")).read("all").users.read_all()
    assert hundred_k["attributes"][0].as_py() == ["gender=F", "age_group=under-18", "occupation=student"]
    csv = MovieLensSource(make_csv(tmp_path / "c")).read("all").users.read_all()
    assert csv.select(["user_id", "attributes"]).to_pylist() == [
        {"user_id": "1", "attributes": []},
        {"user_id": "2", "attributes": []},
    ]


def test_a_slice_keeps_the_ids_of_the_whole(tmp_path: Path) -> None:
    source = MovieLensSource(make_1m(tmp_path))
    rows = source.read("2000-12-31T22:12:00/2001-01-01").events.read_all()
    assert rows["event_id"].to_pylist() == ["000000000-1-10", "000000001-1-20"]


def test_a_folder_of_something_else_says_what_was_expected_and_found(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(SourceError, match=r"expected ratings.dat and movies.dat; or u.data.*found notes.txt"):
        MovieLensSource(tmp_path)
    with pytest.raises(SourceError, match="does not exist; pass DATA="):
        MovieLensSource(tmp_path / "nowhere")


@pytest.mark.parametrize("content", ["", "1::10::five::978300760\n", "1::10::5\n"])
def test_broken_ratings_are_refused_with_the_file_and_an_example(content: str, tmp_path: Path) -> None:
    make_1m(tmp_path)
    (tmp_path / "ratings.dat").write_text(content)
    with pytest.raises(SourceError, match=r"ratings.dat is not readable.*1::1193::5::978300760"):
        MovieLensSource(tmp_path).read("all").events.read_all()


def test_a_broken_movies_line_is_named(tmp_path: Path) -> None:
    make_1m(tmp_path)
    (tmp_path / "movies.dat").write_text("10::A::Drama\n20::B\n")
    with pytest.raises(SourceError, match=r"movies.dat: line 2, '20::B', has not 3 fields"):
        MovieLensSource(tmp_path).read("all")


def test_the_fingerprint_follows_the_files(tmp_path: Path) -> None:
    source = MovieLensSource(make_1m(tmp_path))
    before = source.fingerprint()
    (tmp_path / "users.dat").write_text("1::F::1::10::48067\n")
    assert source.fingerprint() != before


def test_neither_folder_nor_size_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"source.path, or source.size, one of 100k, 1m, 20m, 32m"):
        open_movielens(SourceConfig(kind="movielens"), home=tmp_path)


@pytest.mark.realdata
def test_movielens_100k_as_published(data_folder: Path) -> None:
    tables = MovieLensSource(data_folder / "ml-100k").read("all")
    events = tables.events.read_all()
    assert (events.num_rows, tables.items.read_all().num_rows, tables.users.read_all().num_rows) == (
        100_000,
        1_682,
        943,
    )
    assert pc.min(events["event_timestamp"]).as_py() == datetime(1997, 9, 20, 3, 5, 10, tzinfo=UTC)
    assert pc.max(events["event_timestamp"]).as_py().date().isoformat() == "1998-04-22"


@pytest.mark.realdata
def test_movielens_1m_with_reconstructed_times(data_folder: Path) -> None:
    tables = MovieLensSource(data_folder / "ml-1m").read("all")
    events, items = tables.events.read_all(), tables.items.read_all()
    assert (events.num_rows, items.num_rows, tables.users.read_all().num_rows) == (1_000_209, 3_883, 6_040)
    assert (len(events["user_id"].unique()), len(events["item_id"].unique())) == (6_040, 3_706)
    titles = "".join(items["title"].to_pylist())
    assert "é" in titles
    assert "\N{REPLACEMENT CHARACTER}" not in titles
    assert pc.sum(events["value"]).as_py() == 3_582_313
