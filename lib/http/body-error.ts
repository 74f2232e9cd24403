import { type ErrorCode, RequestError } from '../core/errors.js'

/** What Express's body parsers fail with, told by its documented `type`, as the kit's own error. */
export function bodyError(cause: unknown, maxBodyBytes: number): RequestError {
  const [code, message] = reasonOf((cause as { readonly type?: unknown }).type, maxBodyBytes)
  return new RequestError(code, message, { cause })
}

function reasonOf(type: unknown, maxBodyBytes: number): [ErrorCode, string] {
  switch (type) {
    case 'entity.too.large':
      return ['ERR_SSE_PAYLOAD_TOO_LARGE', `The body has more than ${maxBodyBytes} bytes`]
    case 'entity.parse.failed':
      return ['ERR_SSE_PAYLOAD_INVALID', 'The body is not JSON']
    case 'encoding.unsupported':
      return ['ERR_SSE_PAYLOAD_UNREADABLE', 'The body must not have a Content-Encoding']
    default:
      return ['ERR_SSE_PAYLOAD_UNREADABLE', 'The body could not be read']
  }
}
