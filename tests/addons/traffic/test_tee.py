from hypothesis import given, settings
from hypothesis import strategies as st

from addons.traffic.exchange import Body, Chunk
from addons.traffic.packing import pack, unpack
from addons.traffic.tee import MAX_CHUNKS, Tee, capped

CHUNKS = st.lists(st.tuples(st.integers(0, 10**6), st.binary(max_size=30)), max_size=20)


@settings(deadline=None)
@given(st.lists(st.binary(max_size=30), max_size=20), st.integers(0, 100))
def test_the_beginning_and_the_end_are_kept_and_the_rest_is_counted(chunks: list[bytes], limit: int) -> None:
    tee = Tee(limit)
    for at, data in enumerate(chunks):
        tee.add(float(at), data)
    whole, body = b"".join(chunks), tee.body()
    assert body.size <= limit or not whole
    assert body.size + body.left_out == len(whole)
    head = b"".join(chunk.data for chunk in body.chunks[: body.gap])
    tail = b"".join(chunk.data for chunk in body.chunks[body.gap :])
    assert whole == head + whole[len(head) : len(whole) - len(tail)] + tail
    assert len(whole) > limit or body.data == whole
    assert body.left_out == 0 or len(head) == limit // 2
    assert [chunk.at for chunk in body.chunks] == sorted(chunk.at for chunk in body.chunks)
    assert {chunk.at for chunk in body.chunks} <= {float(at) for at, _ in enumerate(chunks)}


def test_a_stream_of_single_bytes_is_bounded_too() -> None:
    tee = Tee(1 << 20)
    for number in range(3 * MAX_CHUNKS):
        tee.add(number, b"x")
    body = tee.body()
    assert len(body.chunks) <= 2 * MAX_CHUNKS + 1
    assert body.size + body.left_out == 3 * MAX_CHUNKS


@settings(deadline=None)
@given(CHUNKS)
def test_a_body_is_unpacked_as_it_was_packed(chunks: list[tuple[int, bytes]]) -> None:
    body = Body(tuple(Chunk(at / 1000, data) for at, data in chunks))
    assert unpack(pack(body, 1 << 20)) == body


def test_a_long_body_is_cut_after_its_secrets_are_out() -> None:
    secret = b"sk-proj-SENTINEL456def789jkl012"
    body = Body.whole(b"x" * 90 + b" " + secret + b" " + b"y" * 100)
    kept = unpack(pack(body, 200))
    assert kept.truncated and secret[:12] not in kept.data and secret[-12:] not in kept.data


def test_nor_do_the_last_lines_of_a_key_stay() -> None:
    lines = b"\n".join([b"MIIEow+/" * 8] * 20)
    body = Body.whole(b"-----BEGIN RSA PRIVATE KEY-----\n" + lines + b"\n-----END RSA PRIVATE KEY-----\n" + b"the end ")
    assert unpack(pack(body, 600)).data == b"[redacted private key]\nthe end "


def test_what_was_lost_stays_lost() -> None:
    body = Body((Chunk(0, b"a" * 50), Chunk(1, b"b" * 50)), left_out=7, gap=1)
    assert capped(body, 200) == body
    assert capped(body, 20).left_out == 87
