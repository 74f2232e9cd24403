/**
 * Loaded by mocha before the tests: a test fails if a promise rejects without a handler while it runs. In an
 * application such a rejection ends the process, but mocha ignores it.
 */
const rejections: unknown[] = []

process.on('unhandledRejection', (reason) => void rejections.push(reason))

export const mochaHooks = {
  async afterEach(): Promise<void> {
    // Node reports unhandled rejections after the microtasks of a tick.
    await new Promise((resolve) => setImmediate(resolve))
    if (rejections.length === 0) return
    const reasons = rejections.splice(0)
    throw new AggregateError(reasons, `A rejection that nothing handles: ${reasons.map(String).join('; ')}`)
  },
}
