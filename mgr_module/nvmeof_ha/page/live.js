// Keeps the page told: a stream of server-sent events, and where it breaks, questions until it is there again.
//
// A standby mgr answers with a redirect to the active one, which is another origin: the page is then loaded from there.
// While nobody looks at the page nothing is listened to.

const SILENT_MS = 10000;     // the stream is told something every second
const AGAIN_MS = 1000;
const FULL_AGAIN_MS = 5000;
const ANSWER_MS = 3000;

export class Live {
  // `heard(event, value)`: "status" or "history". `changed(how)`: "live", "asking" (no stream is free) or "lost".
  constructor(heard, changed) {
    this.heard = heard;
    this.changed = changed;
    this.stream = null;
    this.watchdog = 0;
    this.timer = 0;
    document.addEventListener("visibilitychange", () => this.start());
  }

  start() {
    this.stop();
    if (document.visibilityState !== "hidden") {
      this.listen();
    }
  }

  stop() {
    clearTimeout(this.timer);
    clearTimeout(this.watchdog);
    if (this.stream) {
      this.stream.close();
      this.stream = null;
    }
  }

  listen() {
    const stream = this.stream = new EventSource("events");
    for (const event of ["status", "history"]) {
      stream.addEventListener(event, (message) => {
        this.expectMore();
        this.changed("live");
        this.heard(event, JSON.parse(message.data));
      });
    }
    stream.onerror = () => this.broken();
    this.expectMore();
  }

  expectMore() {
    clearTimeout(this.watchdog);
    this.watchdog = setTimeout(() => this.broken(), SILENT_MS);
  }

  broken() {
    this.stop();
    this.ask();
  }

  async ask() {
    let wait_ms = AGAIN_MS;
    try {
      const answer = await fetch("api/status", { redirect: "manual", cache: "no-store",
                                                 signal: AbortSignal.timeout(ANSWER_MS) });
      if (answer.type === "opaqueredirect") {
        location.reload();
        return;
      }
      if (answer.ok) {
        const value = await answer.json();
        this.changed("asking");
        this.heard("status", value);
        this.heard("history", { groups: value.history });
        wait_ms = FULL_AGAIN_MS;
      } else {
        this.changed("lost");
      }
    } catch {
      this.changed("lost");
    }
    this.timer = setTimeout(() => this.start(), wait_ms);
  }
}
