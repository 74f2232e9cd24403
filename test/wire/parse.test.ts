import { expect } from 'chai'
import { createParser } from '../../lib/wire/parse.js'

describe('the parser of the client', () => {
  function parsed(pieces: readonly string[]): unknown[] {
    const events: unknown[] = []
    const feed = createParser(
      {
        onEvent: ({ event, data, id }) => events.push([event, data, id]),
        onId: (id) => events.push({ id }),
        onRetry: (ms) => events.push({ ms }),
      },
      () => undefined,
    )
    for (const piece of pieces) feed(piece)
    return events
  }

  it('takes CR and LF for one end of line, also with an empty piece between them', () => {
    const expected = [[undefined, 'a\nb', undefined]]
    expect(parsed(['data: a\r', '\n', 'data: b\r\n\r\n'])).to.deep.equal(expected)
    expect(parsed(['data: a\r', '', '\n', 'data: b\r', '', '', '\n\r\n'])).to.deep.equal(expected)
  })
})
