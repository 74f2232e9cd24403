/**
 * Loaded by mocha before the tests: one during which a promise is rejected that nothing handles fails. Mocha itself ignores it, while it
 * takes a process down.
 */
const rejections: unknown[] = []

process.on('unhandledRejection', (reason) => void rejections.push(reason))

export const mochaHooks = {
  async afterEach(): Promise<void> {
    // They are reported after the microtasks of a turn of the event loop.
    await new Promise((resolve) => setImmediate(resolve))
    if (rejections.length === 0) return
    const reasons = rejections.splice(0)
    throw new AggregateError(reasons, `A rejection that nothing handles: ${reasons.map(String).join('; ')}`)
  },
}
