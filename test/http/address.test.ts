import { expect } from 'chai'
import { addressKey } from '../../lib/http/address.js'

describe('the key of an address', () => {
  for (const [address, key] of [
    ['192.0.2.1', '192.0.2.1'],
    ['::ffff:192.0.2.1', '192.0.2.1'],
    ['::FFFF:192.0.2.1', '192.0.2.1'],
    ['0:0:0:0:0:ffff:192.0.2.1', '192.0.2.1'],
    ['::ffff:c000:201', '192.0.2.1'],
    ['2001:db8:1:2ff:3:4:5:6', '2001:db8:1:200::/56'],
    ['2001:DB8:1:200::', '2001:db8:1:200::/56'],
    ['2001:db8::1', '2001:db8:0:0::/56'],
    ['fe80::1%eth0', 'fe80:0:0:0::/56'],
    ['::1', '0:0:0:0::/56'],
    ['::192.0.2.1', '192.0.2.1'],
    ['64:ff9b::192.0.2.1', '192.0.2.1'],
    ['64:ff9b::c000:201', '192.0.2.1'],
    ['64:ff9b:1:2ff::192.0.2.1', '64:ff9b:1:200::/56'],
    ['192.0.2.1:50001', '192.0.2.1'],
    ['::ffff:192.0.2.1:50001', '192.0.2.1'],
    ['[::ffff:192.0.2.1]:50001', '192.0.2.1'],
    ['[2001:db8:1:2ff::5]', '2001:db8:1:200::/56'],
    ['[2001:db8:1:2ff::5]:443', '2001:db8:1:200::/56'],
    ['"[2001:db8:1:2ff::5%eth0]:443"', '2001:db8:1:200::/56'],
    ['2001:db8:1:2ff:3:4:5:6:50001', '2001:db8:1:200::/56'],
    [' 192.0.2.1 ', '192.0.2.1'],
    ['', 'unknown'],
    [undefined, 'unknown'],
    ['unknown', 'unknown'],
    ['_hidden', 'unknown'],
    ['app.example', 'unknown'],
    ['192.0.2.256', 'unknown'],
    ['192.0.2.1:port', 'unknown'],
    ['192.0.2.1, 192.0.2.2', 'unknown'],
    ['2001:db8::1::2', 'unknown'],
    ['[192.0.2.1', 'unknown'],
    ['10.1', 'unknown'],
    ['0x7f000001', 'unknown'],
  ] as const) {
    it(`is ${key} for ${address === undefined ? 'none' : JSON.stringify(address)}`, () => {
      expect(addressKey(address)).to.equal(key)
    })
  }

  it('is the same for all addresses with the same first 56 bits, and only for them', () => {
    expect(addressKey('2001:db8:1:2aa::1')).to.equal(addressKey('2001:db8:1:2bb:ffff::9'))
    expect(addressKey('2001:db8:1:2aa::1')).to.not.equal(addressKey('2001:db8:1:3aa::1'))
  })
})
