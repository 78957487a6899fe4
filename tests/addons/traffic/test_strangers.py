from addons.traffic.strangers import AN_HOUR, RECORDED, Strangers


def test_so_many_in_an_hour_and_then_anew() -> None:
    strangers = Strangers()
    for hour in (5.0, 5.0 + AN_HOUR):
        told = [strangers.one_more(hour + second / 100) for second in range(3 * RECORDED)]
        assert told == [True] * RECORDED + [False] * 2 * RECORDED
    assert not strangers.one_more(5.0 + 2 * AN_HOUR - 0.1) and strangers.one_more(5.0 + 2 * AN_HOUR)
