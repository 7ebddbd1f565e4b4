// One call of the official client. Each step() tells the test what has happened and waits for its word to go on.
const { OpenAIRealtimeWebRTC, RealtimeAgent, RealtimeSession, tool } = OpenAIAgentsRealtime;

async function step(name, data = {}) {
  const answer = await fetch("/step", { method: "POST", body: JSON.stringify({ name, ...data }) });
  return answer.json();
}

function until(emitter, name, fits = () => true) {
  return new Promise((resolve) => {
    const listen = (...values) => {
      if (fits(...values)) {
        emitter.off(name, listen);
        resolve(values);
      }
    };
    emitter.on(name, listen);
  });
}

const ofType = (type) => (event) => event.type === type;

async function soundReceived(connection) {
  for (const report of (await connection.getStats()).values()) {
    if (report.type === "inbound-rtp" && report.kind === "audio") {
      return { energy: report.totalAudioEnergy, packets: report.packetsReceived };
    }
  }
  return { energy: 0, packets: 0 };
}

function spoken(history) {
  return history
    .filter((item) => item.type === "message" && item.role === "assistant")
    .flatMap((item) => item.content.map((part) => part.transcript ?? part.text));
}

async function call() {
  const { url, wrongKey, key } = await step("loaded");
  const asked = [];
  const weather = tool({
    name: "weather",
    description: "Tells the weather of a city.",
    parameters: {
      type: "object",
      properties: { city: { type: "string" } },
      required: ["city"],
      additionalProperties: false,
    },
    execute: async ({ city }) => {
      asked.push(city);
      return `sunny in ${city}`;
    },
  });
  const agent = new RealtimeAgent({ name: "assistant", instructions: "Be brief.", tools: [weather] });
  const audioElement = new Audio();
  const transport = new OpenAIRealtimeWebRTC({ baseUrl: url, audioElement });
  const session = new RealtimeSession(agent, { transport, model: "gpt-realtime" });
  const errors = [];
  session.on("error", (event) => errors.push(JSON.stringify(event.error)));
  const told = {}; // by type: how often under "*", less how often under its own name; an event it rejects stays
  transport.on("*", ({ type }) => {
    if (!(type in told)) {
      told[type] = 0;
      transport.on(type, () => told[type]--);
    }
    told[type]++;
  });
  const changes = [];
  transport.on("connection_change", (status) => changes.push(status));

  const refused = await session.connect({ apiKey: wrongKey }).then(() => null, (error) => error.message);
  await step("refused", { message: refused });
  errors.length = changes.length = 0;

  await session.connect({ apiKey: key });
  await step("connected", { callId: transport.callId, status: transport.status });
  const connection = transport.connectionState.peerConnection;

  // the fake microphone asks for the weather; the tool is called; the answer is spoken
  await until(transport, "output_audio_buffer.stopped");
  const sound = await soundReceived(connection);
  await step("answered", {
    asked,
    spoken: spoken(session.history),
    sound,
    heard: audioElement.srcObject !== null && !audioElement.paused && audioElement.currentTime > 0,
  });

  session.mute(true);
  await step("muted", { muted: session.muted });

  const started = until(transport, "output_audio_buffer.started");
  session.sendMessage("Tell me a long story.");
  await started;
  await new Promise((resolve) => setTimeout(resolve, 300));
  const interrupted = until(transport, "output_audio_buffer.cleared");
  session.interrupt();
  await interrupted;
  await step("interrupted", { spoken: spoken(session.history) });

  const done = until(transport, "turn_done");
  session.sendMessage("And now?");
  await done;
  await step("written", { spoken: spoken(session.history), usage: session.usage.totalTokens });

  session.mute(false);
  await step("unmuted", { muted: session.muted });

  session.close();
  const rejected = Object.keys(told).filter((type) => told[type] > 0);
  await step("closed", { status: transport.status, changes, errors, rejected, kinds: Object.keys(told).length });
}

call().catch((error) => step("failed", { message: String(error.stack ?? error) }));
