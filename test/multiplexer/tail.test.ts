import { expect } from 'chai'
import type { LogEntry } from '../../lib/core/message.js'
import { Tail } from '../../lib/multiplexer/channel/tail.js'

function entry(offset: number, bytes: number): LogEntry {
  const body = Buffer.alloc(bytes)
  return { epoch: 'aaaaaa', offset, body, priority: 'normal', key: undefined, ttlMs: undefined }
}

describe("a channel's tail", () => {
  function kept(tail: Tail, last: number): number[] {
    return Array.from({ length: last }, (_, index) => index + 1).filter((offset) => tail.get(offset) !== undefined)
  }

  it('evicts its oldest entries beyond its bytes', () => {
    const tail = new Tail(100, 1000)
    for (let offset = 1; offset <= 4; offset++) tail.push(entry(offset, 25))
    expect(kept(tail, 4)).to.deep.equal([1, 2, 3, 4])
    tail.push(entry(5, 26))
    expect(kept(tail, 5)).to.deep.equal([3, 4, 5])
  })

  it('evicts its oldest entries beyond its number of entries', () => {
    const tail = new Tail(1000, 2)
    for (let offset = 1; offset <= 3; offset++) tail.push(entry(offset, 1))
    expect(kept(tail, 3)).to.deep.equal([2, 3])
  })

  it('has room for all its bytes again once it is cleared', () => {
    const tail = new Tail(100, 1000)
    tail.push(entry(1, 100))
    tail.clear()
    tail.push(entry(2, 50))
    tail.push(entry(3, 50))
    expect(kept(tail, 3)).to.deep.equal([2, 3])
  })
})
