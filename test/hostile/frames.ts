/** Whether bytes are what the kit may write on a stream: nothing but its blocks, whose ids are cursors. */

const ID = '(?:id: (?:[a-z0-9]{1,16}-\\d{1,16}(?:\\.[a-z0-9]{1,16}-\\d{1,16}){0,7}|sse\\.completed)\\n)?'
const BLOCK = new RegExp(
  `^(?:retry: \\d+\\n)?${ID}(?:retry: \\d+\\n)?(?:event: [^\\r\\n\\0]+\\n)?(?:data: [^\\r\\n]*\\n)+$`,
)

/** @returns the first complete block that the kit may not write; `undefined`: all are right */
export function invalidFrame(text: string): string | undefined {
  const blocks = text.split('\n\n')
  // What follows the last end of a block has not arrived yet.
  blocks.pop()
  return blocks.find((block) => block !== ':' && block !== '' && !BLOCK.test(`${block}\n`))
}
