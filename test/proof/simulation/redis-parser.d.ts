declare module 'redis-parser' {
  export default class Parser {
    constructor(options: {
      readonly returnBuffers: boolean
      readonly returnReply: (reply: unknown) => void
      readonly returnError: (error: Error) => void
    })
    execute(chunk: Buffer): void
  }
}
