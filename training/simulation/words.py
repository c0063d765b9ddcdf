"""The texts that names, addresses, telephone numbers and user agents are made of."""

SURNAMES = tuple(
    "王王王王李李李李张张张张刘刘刘陈陈陈杨杨赵赵黄黄周周吴吴徐孙胡朱高林何郭马罗梁宋郑谢韩唐冯于董萧程曹袁邓许傅沈曾彭吕苏卢蒋蔡贾丁魏薛叶阎余潘杜戴夏钟汪田任姜范方石姚谭廖邹熊金陆郝孔白崔康毛邱秦江史顾侯邵孟龙万段雷钱汤尹黎易常武乔贺赖龚文"
)
GIVEN_NAMES = tuple(
    "伟芳娜敏静丽强磊军洋勇艳杰娟涛明超秀霞平刚桂文华玉兰英建国志海波辉红梅云飞鹏宇婷欣怡子轩浩然思雨佳琪梦洁俊峰晓东雪莲一诺泽楷瑞晨曦博睿语嫣紫萱若彤嘉豪天佑家栋春燕秋菊冬青松柏林森"
)

_CITIES = {
    "北京市": "朝阳区 海淀区 丰台区 通州区 昌平区",
    "上海市": "浦东新区 闵行区 徐汇区 宝山区 嘉定区",
    "广东省广州市": "天河区 越秀区 白云区 番禺区 海珠区",
    "广东省深圳市": "南山区 福田区 龙岗区 宝安区 龙华区",
    "浙江省杭州市": "西湖区 余杭区 滨江区 萧山区 拱墅区",
    "浙江省金华市": "义乌市 婺城区 东阳市",
    "江苏省南京市": "鼓楼区 江宁区 玄武区 浦口区",
    "江苏省苏州市": "吴中区 姑苏区 昆山市 工业园区",
    "四川省成都市": "武侯区 锦江区 双流区 青羊区 郫都区",
    "湖北省武汉市": "洪山区 武昌区 江汉区 汉阳区",
    "湖南省长沙市": "岳麓区 雨花区 天心区 开福区",
    "陕西省西安市": "雁塔区 碑林区 未央区 长安区",
    "山东省济南市": "历下区 市中区 槐荫区",
    "山东省青岛市": "市南区 崂山区 黄岛区",
    "河南省郑州市": "金水区 中原区 二七区 郑东新区",
    "福建省厦门市": "思明区 湖里区 集美区",
    "福建省泉州市": "丰泽区 晋江市 石狮市",
    "重庆市": "渝中区 江北区 南岸区 沙坪坝区 渝北区",
    "辽宁省沈阳市": "和平区 沈河区 铁西区",
    "安徽省合肥市": "蜀山区 包河区 庐阳区",
    "云南省昆明市": "五华区 盘龙区 官渡区",
    "广西壮族自治区南宁市": "青秀区 兴宁区 西乡塘区",
}
CITIES = tuple(
    city + district for city, districts in _CITIES.items() for district in districts.split()
)

ROADS = tuple(
    first + second + kind
    for first in "中人解新建和文光长东西南北学金"
    for second in "山民放华设平化明江风湖苑园府"
    for kind in ("路", "街", "大道")
)

MOBILE_PREFIXES = tuple(
    str(number)
    for number in (
        *(134, 135, 136, 137, 138, 139, 150, 151, 152, 157, 158, 159, 182, 183, 187, 188, 198),
        *(130, 131, 132, 155, 156, 185, 186, 176, 133, 153, 177, 180, 181, 189, 199),
    )
)
VIRTUAL_PREFIXES = ("170", "171", "162", "165", "167")

_PHONES = ("iPhone15,2", "iPhone14,5", "iPhone16,1", "ALN-AL00", "BRA-AL00", "2312DRA50C", "V2309A")
_PHONES += ("PJA110", "SM-S9180", "PGT-AN10")
_PROGRAMS = ("ShopApp/8.12.0", "ShopApp/8.11.3", "MicroMessenger/8.0.49", "Chrome/124.0 Mobile")
_COMPUTERS = ("Windows NT 10.0; Win64; x64", "Macintosh; Intel Mac OS X 10_15_7")
_BROWSERS = ("Chrome/124.0.0.0", "Chrome/123.0.0.0", "Edg/124.0.0.0", "Firefox/125.0")
USER_AGENTS = tuple(
    [f"Mozilla/5.0 (Linux; {phone}) {program}" for phone in _PHONES for program in _PROGRAMS]
    + [f"Mozilla/5.0 ({computer}) {browser}" for computer in _COMPUTERS for browser in _BROWSERS]
)
