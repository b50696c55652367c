// A hypervisor driver in JavaScript that passes the conformance suite.
//
// It has no hypervisor yet: it keeps each domain as a small JSON file of a datastore.
// The functions marked REPLACE are the places for calls to your hypervisor.
//
// Each call of the host runs in a fresh copy of this module, as it was when the component was built.
// So module variables are constants: what must outlive a call belongs into the domain.

import * as config from "ostler:driver/config@0.1.0";
import * as files from "ostler:driver/files@0.1.0";

const NAME = "javascript-example";
const VERSION = "0.1.0";

// The error of a call. Throw it: the record that is thrown is the answer of the call.
function failed(kind, code, detail) {
  return { kind, code, detail };
}

// The domain in the words of the contract. `domain` is what its file holds.
function seen(vm, { name, store, generation, power, reason, edge }) {
  const identity = { store, vm, generation };
  return { uuid: vm, name, identity, power, reason, lastEdge: edge, extra: [] };
}

// The call succeeded, and a look afterwards has shown this domain.
function present(vm, domain) {
  return { seen: { tag: "present", val: seen(vm, domain) }, extra: [] };
}

// The call succeeded, and a look afterwards has shown no domain.
function absent() {
  return { seen: { tag: "absent" }, extra: [] };
}

// A setting that the driver cannot do without.
function setting(key) {
  const value = config.get(key);
  if (value === undefined) {
    throw failed("refused", "config-missing", `the setting ${key} is not set`);
  }
  return value;
}

// The folder of this host. Each host needs a folder of its own.
function folder() {
  return { datastore: setting("datastore"), path: setting("folder") };
}

// The file of a domain.
function place(vm) {
  const { datastore, path } = folder();
  return { datastore, path: `${path}/${vm}` };
}

// A `u64` of the contract is a BigInt, which JSON does not have: such numbers are kept as text.
const NUMBERS = ["generation", "operation", "step"];

function encode(domain) {
  const plain = (_, value) => (typeof value === "bigint" ? String(value) : value);
  return new TextEncoder().encode(JSON.stringify(domain, plain));
}

function decode(bytes) {
  const whole = (key, value) => (NUMBERS.includes(key) ? BigInt(value) : value);
  return JSON.parse(new TextDecoder().decode(bytes), whole);
}

// REPLACE: ask the hypervisor for one domain.
//
// Answer undefined only if the hypervisor says that there is none. If it cannot be asked, throw an
// error: the host removes disks because a domain is absent.
function load(vm) {
  const bytes = files.read(place(vm));
  if (bytes === undefined) return undefined;
  try {
    return decode(bytes);
  } catch (problem) {
    throw failed("retry", "unreadable", `the file of ${vm} cannot be read: ${problem.message}`);
  }
}

// REPLACE: change the domain at the hypervisor.
function save(vm, domain) {
  files.write(place(vm), encode(domain));
  return present(vm, domain);
}

// REPLACE: list all domains of the host.
function names() {
  try {
    return files.list(folder());
  } catch (error) {
    // There is no folder before the first domain. All other errors are answers of the call.
    if (error.payload?.kind === "gone") return [];
    throw error;
  }
}

// Finds the domain of a call, and checks whether the call may touch it. Every call that changes
// something begins with this.
function find(call) {
  const domain = load(call.id().vm);
  if (domain === undefined) return undefined;
  // First the store: generations of two stores cannot be compared.
  if (domain.store !== call.store()) {
    throw failed("refused", "foreign", `the domain belongs to the store ${domain.store}`);
  }
  if (domain.generation > call.generation()) {
    const detail = `the domain has generation ${domain.generation}, the call ${call.generation()}`;
    throw failed("stale", "stale", detail);
  }
  return domain;
}

// Sends an effect that must not happen twice. Its identity is written into the domain first. If it
// is there already, nothing is sent.
function edge(call, send) {
  const domain = find(call);
  if (domain === undefined) throw failed("gone", "no-domain", "there is no such domain");
  const effect = call.id();
  const same = (key) => domain.edge?.[key] === effect[key];
  if (["vm", "operation", "step", "item"].every(same)) return present(effect.vm, domain);
  if (domain.power !== "running") {
    throw failed("gone", "not-running", `the domain is ${domain.power}`);
  }
  domain.edge = effect;
  save(effect.vm, domain);
  send(domain);
  return save(effect.vm, domain);
}

// Functions that tell of a mistake in this file (a TypeError, say) in their answer. Without this it
// would be a trap that has lost the reason. An error that the host has answered has a payload.
function telling(functions) {
  const wrap = (run) => (...args) => {
    try {
      return run(...args);
    } catch (error) {
      if (!(error instanceof Error) || error.payload !== undefined) throw error;
      throw failed("unknown", "exception", `${error}\n${error.stack}`);
    }
  };
  return Object.fromEntries(Object.entries(functions).map(([name, run]) => [name, wrap(run)]));
}

// The mandatory interface. The name of the export is that of the interface.
export const hypervisor = telling({
  describe() {
    return { name: NAME, version: VERSION, summary: "Domains as small files, in JavaScript" };
  },

  probe() {
    return {
      cpuMilli: 4000n,
      memoryMib: 4096n,
      hypervisor: `${NAME} ${VERSION}`,
      unable: [],
      notes: [],
      extra: [],
    };
  },

  deploy(call, spec) {
    const found = find(call);
    const { store, vm, generation } = spec.identity;
    return save(vm, {
      name: spec.name,
      store,
      generation,
      power: "running",
      reason: "none",
      edge: found?.edge,
    });
  },

  pressPower(call) {
    return edge(call, (domain) => {
      // A real guest takes its time. The domains of this driver have no guest.
      Object.assign(domain, { power: "off", reason: "guest" });
    });
  },

  destroy(call) {
    const domain = find(call);
    if (domain === undefined) return absent();
    const { vm } = call.id();
    if (domain.power === "off") return present(vm, domain);
    return save(vm, { ...domain, power: "off", reason: "destroyed" });
  },

  remove(call) {
    find(call);
    files.remove(place(call.id().vm));
    return absent();
  },

  observe(vm) {
    const domain = load(vm);
    return domain === undefined ? { tag: "absent" } : { tag: "present", val: seen(vm, domain) };
  },

  list() {
    const listed = { domains: [], unreadable: [] };
    // A file is named like its VM. Files with other names are still being written.
    for (const vm of names().filter((name) => name.length === 36)) {
      try {
        const domain = load(vm);
        if (domain !== undefined) listed.domains.push(seen(vm, domain));
      } catch {
        listed.unreadable.push(vm);
      }
    }
    return listed;
  },
});

// An ability. A driver that does not have it leaves out the export, and `with-reboot` in wit/.
export const reboot = telling({
  reboot(call) {
    return edge(call, () => {});
  },

  reset(call) {
    return edge(call, () => {});
  },
});
