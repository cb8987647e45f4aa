import assert from "node:assert/strict";
import { test } from "node:test";
import { encode } from "../../../../../kvd/gateways/http/ui/bytes.js";
import { FORMS, hasLongLine, linesOf } from "../../../../../kvd/gateways/http/ui/forms.js";

const ALL = Uint8Array.from({ length: 256 }, (_, byte) => byte);

test("hex and base64 hold any bytes", () => {
  for (const form of ["hex", "base64"]) assert.deepEqual(FORMS[form].read(FORMS[form].write(ALL)), ALL);
  assert.match(FORMS.hex.write(ALL), /^00 01 .* 0f\n10 11/);
  assert.throws(() => FORMS.hex.read("ff 0"), /pairs/);
  assert.throws(() => FORMS.base64.read("*"), /not base64/);
});

test("a text keeps its line ends, or is not edited as text", () => {
  for (const text of ["", "a\nb", "a\r\nb\r\n"]) {
    const bytes = encode(text);
    assert.deepEqual(FORMS.text.read(FORMS.text.write(bytes), linesOf(bytes).eol), bytes);
  }
  assert.equal(FORMS.text.write(encode("a\r\nb\nc")), null);
  assert.equal(FORMS.text.write(encode("a\rb")), null);
  assert.equal(FORMS.text.write(Uint8Array.of(255)), null);
});

test("a line that is too long to be edited", () => {
  assert.ok(hasLongLine(`a\n${"é😀".repeat(11_000)}\nb`));
  assert.ok(!hasLongLine("é".repeat(200_000)));
  assert.ok(!hasLongLine(`${"😀".repeat(1000)}\n`.repeat(100)));
});
