import assert from "node:assert/strict";
import { test } from "node:test";
import * as facts from "../../../../../kvd/gateways/http/ui/facts.js";

test("facts in words", () => {
  assert.equal(facts.describe("memory_bytes", 2 ** 20), "1.0 MiB");
  assert.equal(facts.describe("uptime_ms", 61_000), "1 min 1 s");
  assert.equal(facts.describe("commit_us", 1500), "1.5 ms");
  assert.equal(facts.describe("pid", 12345), "12345");
  assert.equal(facts.describe("calls", { calls: 1, mean_us: 10 }), "1 call, 10 µs each");
  assert.deepEqual([null, "", false, []].map((value) => facts.describe("x", value)), ["–", "–", "no", "–"]);
});

test("a name that says something else without its section has words of its own", () => {
  assert.equal(facts.labelOf("server", "keys"), "CURVE keys needed");
  assert.equal(facts.labelOf("store", "keys"), "keys");
  assert.equal(facts.labelOf("store", "wal_used_bytes"), "wal used");
});

test("the spread of latencies, in the order of its bounds", () => {
  const latency = { below_32_us: 99, below_16_us: 50, below_64_us: 100, requests: 100 };
  assert.deepEqual(facts.spreadOf(latency), [{ bound: 16, count: 50 }, { bound: 32, count: 49 }, { bound: 64, count: 1 }]);
  assert.equal(facts.lateBound(latency), 32);
  assert.equal(facts.lateBound({ below_16_us: 0 }), null);
});

test("commands that reach the daemon", () => {
  assert.deepEqual(facts.connections({ server: { commands: ["tcp://127.0.0.1:7411"] } }, "http://a:1"), [
    "curl http://a:1/kv/KEY",
    "kvsh --url tcp://127.0.0.1:7411",
  ]);
  assert.equal(facts.connections({}, "http://a:1").length, 1);
});

test("headlines and warnings stand with any daemon", () => {
  assert.ok(facts.headlines({}).every((each) => each.length === 3));
  const rate = facts.headlines({ latency: { requests: 30 } }, { latency: { requests: 10 } }, 2)[1];
  assert.equal(rate[1], "10");
  assert.deepEqual(facts.warnings({}), []);
  assert.match(facts.warnings({ server: { read_only: "disk" } })[0], /refuses writes: disk/);
});
