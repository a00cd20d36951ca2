def test_x(weights, soradit, tmp_path):
    print(weights)
    r = soradit("generate", "x", "-o", tmp_path / "a.mp4", "--weights", weights)
    print(r)
    assert r.exit_code == 0
