"""The canceller between a microphone and a loudspeaker in one room, in virtual time, whatever their format."""

import asyncio

import numpy as np
import pytest

from rtc_audio.devices import Microphone, Speaker
from rtc_audio.echo_source import EchoSource
from rtc_audio.ports import Pcm
from support.command_line import SPEECH, read_wav
from support.fake_audio import FakeCards, card, make_room, run_with_cards

SECONDS = 10.0
ECHO = 0.5


def voice_of_the_model(rate_hz: int) -> Pcm:
    speech, speech_hz = read_wav(SPEECH)
    at = np.arange(round(SECONDS * rate_hz)) * speech_hz / rate_hz
    return np.interp(at, np.arange(len(speech)), speech, period=len(speech)).astype(np.float32)[:, None]


@pytest.mark.parametrize(("rate_hz", "inputs", "outputs"), [(48000, 1, 1), (44100, 2, 2), (16000, 1, 6)])
def test_what_is_played_is_taken_out_of_what_is_recorded(rate_hz: int, inputs: int, outputs: int) -> None:
    microphone_card = card(0, "Mic", inputs=inputs, default_rate_hz=rate_hz, is_default_input=True)
    speaker_card = card(1, "Box", outputs=outputs, default_rate_hz=rate_hz, is_default_output=True)

    async def scenario(cards: FakeCards) -> None:
        cards.accepts = {"Mic": {(rate_hz, inputs)}, "Box": {(rate_hz, outputs)}}
        make_room(cards, speak=None, echo=ECHO)
        voice, position = voice_of_the_model(48000), 0

        def pull(n: int) -> Pcm:
            nonlocal position
            position += n
            return voice[position - n : position]

        microphone, speaker = Microphone(hub=cards.hub), Speaker(hub=cards.hub)
        echo = EchoSource(
            microphone,
            "cancel",
            speaker.rate_hz,
            clock=asyncio.get_running_loop().time,
            on_error=lambda error: pytest.fail(repr(error)),
        )
        speaker.on_written = echo.played
        await microphone.start()
        await speaker.start(pull)
        heard = []
        for _ in range(round((SECONDS - 0.5) / 0.02)):
            await asyncio.sleep(0.02)
            heard.append(echo.read(rate_hz // 50)[:, 0])
        await speaker.aclose()
        await microphone.aclose()
        rest, played = np.concatenate(heard), ECHO * voice[: round(SECONDS * 48000), 0]
        echo_db = 20 * np.log10(np.sqrt(np.mean(played**2)))
        early_db, late_db = (
            20 * np.log10(np.sqrt(np.mean(part**2)) + 1e-9)
            for part in (rest[: 5 * rate_hz], rest[6 * rate_hz :])
        )
        assert early_db < echo_db - 20, "the start-up gate"
        assert late_db < echo_db - 25
        assert echo.return_loss_db is not None
        assert speaker.underrun_seconds == 0

    run_with_cards(scenario, microphone_card, speaker_card)
