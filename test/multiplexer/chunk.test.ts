import { expect } from 'chai'
import type { LogEntry } from '../../lib/core/message.js'
import { chunkAfter } from '../../lib/multiplexer/channel/chunk.js'
import { Page } from '../../lib/multiplexer/channel/page.js'
import { encodePublished } from '../../lib/wire/encode.js'
import { range } from '../helpers/range.js'

function logOf(data: readonly string[]): (offset: number) => LogEntry | undefined {
  const entries = data.map((each, i) => ({ epoch: 'abc123', offset: i + 1, ...encodePublished({ data: each }) }))
  return (offset) => entries[offset - 1]
}

describe('a chunk of a log', () => {
  it('gives each event its position as id', () => {
    const chunk = chunkAfter(1, logOf(['a', 'b', 'c']))
    expect(chunk?.blocks.bytes.toString()).to.equal('id: abc123-2\ndata: b\n\nid: abc123-3\ndata: c\n\n')
    expect(chunk).to.include({ count: 2, last: 3 })
  })

  it('gives each event the position in all channels, if there are several', () => {
    const chunk = chunkAfter(0, logOf(['a', 'b']), { cursorAt: (offset) => `abc123-${offset}.other1-9` })
    expect(chunk?.blocks.bytes.toString()).to.equal(
      'id: abc123-1.other1-9\ndata: a\n\nid: abc123-2.other1-9\ndata: b\n\n',
    )
  })

  it('holds at most the given number of events and about 32 KB, but always one event of any size', () => {
    const log = logOf(range(1, 10).map(() => 'x'.repeat(10_000)))
    expect(chunkAfter(0, log)).to.include({ count: 3, last: 3 })
    expect(chunkAfter(0, log, { max: 2 })).to.include({ count: 2, last: 2 })
    expect(chunkAfter(0, logOf(['x'.repeat(100_000)]))).to.include({ count: 1 })
  })

  it('is joined once for each offset of a page', () => {
    const log = logOf(['a', 'b', 'c'])
    const entries = range(1, 3).map((offset) => log(offset) as LogEntry)
    const page = new Page(0, { head: { epoch: 'abc123', offset: 3 }, entries, end: 3 })
    const chunk = page.chunk(1, 3)
    expect(chunk).to.include({ count: 2, last: 3 })
    expect(page.chunk(1, 3)).to.equal(chunk)
    expect(page.chunk(0, 3)).to.include({ count: 3, last: 3 })
  })

  it('does not exist at the end of the log', () => {
    expect(chunkAfter(2, logOf(['a', 'b']))).to.equal(undefined)
  })
})
