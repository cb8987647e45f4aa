import assert from "node:assert/strict";
import { test } from "node:test";
import { Refusal, sentence } from "../../../../../kvd/gateways/http/ui/gateway.js";

test("an error is a sentence, without the name of the command", () => {
  const said = (message) => sentence(new Refusal(503, { code: "UNREACHABLE", message }));
  assert.equal(said("SCAN: no daemon answers"), "No daemon answers.");
  assert.equal(said("the key exists: look!"), "The key exists: look!");
  assert.match(sentence(new TypeError("failed"), true), /does not answer. This may have been executed/);
});
