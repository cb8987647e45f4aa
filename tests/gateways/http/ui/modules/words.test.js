import assert from "node:assert/strict";
import { test } from "node:test";
import * as words from "../../../../../kvd/gateways/http/ui/words.js";

test("sizes", () => {
  assert.deepEqual([0, 1, 1023, 1024, 10 * 1024, 2 ** 24, 3 * 2 ** 40].map(words.size), [
    "0 bytes", "1 byte", "1,023 bytes", "1.0 KiB", "10 KiB", "16 MiB", "3.0 TiB",
  ]);
  assert.deepEqual([1, 172, 1024].map(words.shortSize), ["1 B", "172 B", "1.0 KiB"]);
});

test("durations", () => {
  assert.deepEqual([5, 59_000, 61_000, 3_600_000, 90_000_000].map(words.duration), [
    "5 ms", "59 s", "1 min 1 s", "1 h 0 min", "1 d 1 h",
  ]);
  assert.deepEqual([-5, 1, 59_500, 3_600_000, 1e9].map(words.shortDuration), ["0 s", "1 s", "1 min", "1 h", "11 d"]);
  assert.deepEqual([1, 999, 1500, 2e6].map(words.micro), ["1 µs", "999 µs", "1.5 ms", "2 s"]);
});

test("counts", () => {
  assert.equal(words.plural(1, "key"), "1 key");
  assert.equal(words.plural(1234, "key"), "1,234 keys");
});
