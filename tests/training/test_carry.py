import pytest

from training.carry import join_folder, main, split_folder


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "pipeline" / "unet").mkdir(parents=True)
    (tmp_path / "pipeline" / "unet" / "weights").write_bytes(bytes(range(256)) * 400)
    (tmp_path / "pipeline" / "model_index.json").write_text("{}")
    return tmp_path / "pipeline"


def test_pieces_are_small_and_make_the_folder_again(folder, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "piece-09").write_text("of before")
    pieces = split_folder(folder, tmp_path / "out", piece_bytes=20_000)
    assert len(pieces) == 6
    assert max(piece.stat().st_size for piece in pieces) == 20_000
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [*(p.name for p in pieces), "pieces.json"]
    main(["join", str(tmp_path / "out"), str(tmp_path / "again")])
    for path in ("unet/weights", "model_index.json"):
        assert (tmp_path / "again" / path).read_bytes() == (folder / path).read_bytes()


def test_a_damaged_or_missing_piece_is_named_and_nothing_is_written(folder, tmp_path, capsys):
    pieces = split_folder(folder, tmp_path / "out", piece_bytes=20_000)
    pieces[2].write_bytes(b"x" + pieces[2].read_bytes()[1:])
    with pytest.raises(SystemExit):
        main(["join", str(tmp_path / "out"), str(tmp_path / "again")])
    assert "piece-02: damaged" in capsys.readouterr().err
    pieces[2].unlink()
    with pytest.raises(OSError, match="piece-02"):
        join_folder(tmp_path / "out", tmp_path / "again")
    assert not (tmp_path / "again").exists()
    with pytest.raises(ValueError, match="exists already"):
        join_folder(tmp_path / "out", folder)
