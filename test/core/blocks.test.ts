import type { Socket } from 'node:net'
import { Writable } from 'node:stream'
import { expect } from 'chai'
import fc from 'fast-check'
import { Blocks, chunkText } from '../../lib/wire/blocks.js'

/** One chunk, according to RFC 9112 7.1. */
function chunkOf(bytes: Buffer): Buffer {
  return Buffer.concat([Buffer.from(`${bytes.length.toString(16)}\r\n`), bytes, Buffer.from('\r\n')])
}

describe('blocks', () => {
  it('have the joined parts as bytes, and as one chunk of HTTP/1.1', () => {
    const part = fc.oneof(
      fc.uint8Array({ minLength: 1, maxLength: 300 }).map((bytes) => Buffer.from(bytes)),
      fc.string({ unit: 'grapheme-ascii', minLength: 1, maxLength: 40 }),
    )
    fc.assert(
      fc.property(fc.array(part, { minLength: 1, maxLength: 30, size: 'max' }), (parts) => {
        const whole = Buffer.concat(parts.map((each) => Buffer.from(each as string)))
        for (const blocks of [Blocks.join(parts), Blocks.of(whole)]) {
          expect(blocks.length).to.equal(whole.length)
          expect(blocks.bytes.equals(whole)).to.equal(true)
          expect(blocks.chunk.equals(chunkOf(whole))).to.equal(true)
        }
      }),
    )
  })

  it('may be text for a single stream', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme-ascii', minLength: 1, maxLength: 1000, size: 'max' }), (text) => {
        expect(chunkText(text)).to.equal(chunkOf(Buffer.from(text)).toString())
      }),
    )
  })

  it('are written as one chunk, and large parts without a copy', () => {
    const part = fc.oneof(
      fc.constantFrom(65_535, 65_536, 70_000, 200_000).map((length) => Buffer.alloc(length, 'x')),
      fc.uint8Array({ minLength: 1, maxLength: 300 }).map((bytes) => Buffer.from(bytes)),
      fc.string({ unit: 'grapheme-ascii', minLength: 1, maxLength: 40 }),
    )
    fc.assert(
      fc.property(fc.array(part, { minLength: 1, maxLength: 8 }), (parts) => {
        const whole = Buffer.concat(parts.map((each) => Buffer.from(each as string)))
        const joined = Blocks.join(parts)
        for (const blocks of [joined, Blocks.of(whole)]) {
          const written: Buffer[] = []
          const socket = new Writable({
            write: (data: Buffer, _encoding, done) => {
              written.push(data)
              done()
            },
          })
          blocks.writeTo(socket as Socket)
          expect(socket.writableCorked).to.equal(0)
          expect(Buffer.concat(written).equals(chunkOf(whole))).to.equal(true)
          expect([blocks.bytes.equals(whole), blocks.chunk.equals(chunkOf(whole))]).to.deep.equal([true, true])
          const large = (blocks === joined ? parts : [whole]).filter(({ length }) => length >= 65_536)
          expect(large.every((each) => written.includes(each as Buffer))).to.equal(true)
        }
      }),
    )
  })

  it('are framed once', () => {
    const blocks = Blocks.of(Buffer.from(':\n\n'))
    expect(blocks.chunk).to.equal(blocks.chunk)
  })
})
