// Numbers, times and states in words.

export function duration(seconds) {
  if (seconds === null || seconds === undefined) {
    return "–";
  }
  if (seconds < 1) {
    return `${Math.round(seconds * 1000)} ms`;
  }
  if (seconds < 60) {
    return `${seconds.toFixed(1)} s`;
  }
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) {
    return `${minutes} min ${Math.floor(seconds % 60)} s`;
  }
  if (minutes < 48 * 60) {
    return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
  }
  return `${Math.floor(minutes / 1440)} d ${Math.floor(minutes / 60) % 24} h`;
}

export function clock(seconds, withDate = false) {
  const text = new Date(seconds * 1000).toISOString();
  return withDate ? `${text.slice(0, 10)} ${text.slice(11, 19)}` : text.slice(11, 19);
}

export function count(number, one, more = `${one}s`) {
  return `${number} ${number === 1 ? one : more}`;
}

// "gw1#3:token" -> "gw1"
export function gatewayOf(instance) {
  return instance === null ? null : instance.replace(/#\d+:[^#]*$/, "");
}

const PHASES = {
  ACTIVE: "served", PROMOTING: "being taken over", DRAINING: "finishing its I/O", FENCING: "fencing",
  UNSERVED: "unserved",
};

export function phase(name) {
  return PHASES[name] || name;
}

const AVAILABILITIES = {
  AVAILABLE: "available", CREATED: "not ready", SUSPECT: "suspected", UNAVAILABLE: "unavailable",
};

export function availability(gateway) {
  const words = [AVAILABILITIES[gateway.availability] || gateway.availability];
  for (const [so, word] of [[gateway.leaving, "leaving"], [gateway.deleting, "being deleted"],
                            [!gateway.enabled, "disabled"]]) {
    if (so) {
      words.push(word);
    }
  }
  return words.join(", ");
}

// The part of a transition that ended with a mark: what the time until it was spent on.
const STEPS = {
  heard: "last heard", noticed: "silence", suspected: "suspicion stored", departed: "lease runs out, or process ended",
  fenced: "fencing", draining: "told to drain", drained: "I/O finished", promoted: "promotion stored",
  declined: "declined", confirmed: "taking over", abandoned: "could not drain",
};

export function step(what) {
  return STEPS[what] || what;
}
