import { expect } from 'chai'
import fc from 'fast-check'
import { redactUrl, stripParameter, withoutParameter } from '../../lib/auth/url-secrets.js'
import { authenticate } from '../../lib/routers/authenticate.js'

describe('secrets in URLs', () => {
  const redacted: readonly (readonly [string, string])[] = [
    ['/sse', '/sse'],
    ['/sse?', '/sse?'],
    ['/sse?from=earliest', '/sse?from=earliest'],
    ['/sse?token=abc.def.ghi', '/sse?token=REDACTED'],
    ['/sse?ticket=abc&from=earliest', '/sse?ticket=REDACTED&from=earliest'],
    ['/sse?a=1&access_token=abc&b=%20x', '/sse?a=1&access_token=REDACTED&b=%20x'],
    ['/sse?token=a&token=b', '/sse?token=REDACTED&token=REDACTED'],
    ['/sse?token=a=b?c=d', '/sse?token=REDACTED'],
    ['/sse?%74oken=abc&Token=abc', '/sse?%74oken=REDACTED&Token=REDACTED'],
    ['/sse?token', '/sse?token=REDACTED'],
    ['/sse?mytoken=abc&tokens=2', '/sse?mytoken=abc&tokens=2'],
    ['https://app.example/sse?ticket=abc', 'https://app.example/sse?ticket=REDACTED'],
    ['/sse?%=1&%E0%A4%A=2&token=abc', '/sse?%=1&%E0%A4%A=2&token=REDACTED'],
    ['/token=abc?x', '/token=abc?x'],
  ]
  for (const [url, expected] of redacted) {
    it(`are redacted: ${url}`, () => {
      expect(redactUrl(url)).to.equal(expected)
    })
  }

  it('are redacted in the parameter that an authenticate option names', () => {
    const url = '/sse?jwt=abc&JWT=abc&a=1'
    expect(redactUrl(url)).to.equal(url)
    authenticate({ secret: 'a secret of thirty-two bytes or more', query: 'jwt' })
    expect(redactUrl(url)).to.equal('/sse?jwt=REDACTED&JWT=REDACTED&a=1')
    expect(['/sse?ticket=abc'].map(redactUrl)).to.deep.equal(['/sse?ticket=REDACTED'])
  })

  it('are removed from a request without other changes', () => {
    const req = {
      url: '/conversations?ticket=abc&last_event_id=1%2D2&%74icket=def',
      originalUrl: '/api/sse/conversations?ticket=abc&last_event_id=1%2D2&%74icket=def',
      query: { ticket: ['abc', 'def'], last_event_id: '1-2' },
    }
    stripParameter(req, 'ticket')
    expect(req).to.deep.equal({
      url: '/conversations?last_event_id=1%2D2',
      originalUrl: '/api/sse/conversations?last_event_id=1%2D2',
      query: { last_event_id: '1-2' },
    })
  })

  it('are in no URL after removal or redaction, for any URL', () => {
    const pair = fc.tuple(fc.constantFrom('token', 'ticket', 'a', '%74oken', 'x y'), fc.string())
    fc.assert(
      fc.property(fc.array(pair), (pairs) => {
        const query = pairs.map(([name, value]) => `${name}=${encodeURIComponent(value.toWellFormed())}`)
        const url = `/sse?${query.join('&')}`
        const of = (text: string): [string, string][] => [...new URLSearchParams(text.split('?')[1])]
        expect(of(withoutParameter(url, 'token'))).to.deep.equal(of(url).filter(([name]) => name !== 'token'))
        expect(of(redactUrl(url))).to.deep.equal(
          of(url).map(([name, value]) => [name, ['token', 'ticket'].includes(name) ? 'REDACTED' : value]),
        )
      }),
    )
  })
})
