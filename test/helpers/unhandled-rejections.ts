import { expect } from 'chai'

/**
 * Call within `describe`: a test of it fails if a promise is rejected that nothing handles. Without this mocha ignores it, while it takes a
 * process down.
 */
export function refuseUnhandledRejections(): void {
  const rejections: unknown[] = []
  const note = (reason: unknown): void => void rejections.push(reason)

  beforeEach(() => {
    rejections.length = 0
    process.on('unhandledRejection', note)
  })

  afterEach(async () => {
    // They are reported after the microtasks of a turn of the event loop.
    for (let turn = 0; turn < 3; turn++) await new Promise((resolve) => setImmediate(resolve))
    process.off('unhandledRejection', note)
    expect(rejections, 'unhandled rejections').to.deep.equal([])
  })
}
