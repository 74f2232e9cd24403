import { expect } from 'chai'
import { createMultiplexer, limitStreams, type Pacing, type Revocations, type StreamLimits } from '../../lib/index.js'
import { sseMiddleware } from '../../lib/routers/sse-middleware.js'

describe('an object of the kit as an option', () => {
  // The methods of a mock, or of an object of another copy of the package.
  const revocations: Revocations = {
    revoke: () => Promise.resolve(),
    onRevoke: () => () => undefined,
    isRevoked: () => Promise.resolve(false),
    revokedAmong: () => Promise.resolve(new Set<never>()),
  }
  const streamLimits: StreamLimits = {
    size: 0,
    evict: () => false,
    onEvictRemote: () => () => undefined,
    close: () => Promise.resolve(),
  }
  const pacing: Pacing = { size: 0, configure: () => undefined }

  for (const [name, give] of Object.entries({
    'streamLimits of a multiplexer': () => createMultiplexer({ streamLimits }),
    'the limits of limitStreams()': () => limitStreams(streamLimits),
    'revocations of streams': () => sseMiddleware({ revocations }),
    'pacing of streams': () => sseMiddleware({ pacing }),
  })) {
    it(`is refused unless the kit created it: ${name}`, () => {
      expect(give).to.throw('must be an object returned by create').with.property('code', 'ERR_SSE_OPTION_INVALID')
    })
  }
})
